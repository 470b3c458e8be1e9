//! A slow or refusing store prevents neither the renewal of the lease nor the end of the node.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use fanfare_core::{BoxFuture, Broker, Channel, Slot, SlotScope};

use super::*;
use crate::{
    test_hub::{Hub, TestNode, eventually},
    transport::presence::{Held, Lease, RoomMembers},
};

/// A store that grants every change, after a delay.
#[derive(Default)]
struct SlowStore {
    /// The number of renewals before a call of `apply` continues.
    renewals_first: usize,
    /// The delay of each call of `apply`.
    delay: Duration,
    refuses: AtomicBool,
    renewals: AtomicUsize,
    applied: AtomicUsize,
    refusals: AtomicUsize,
    forgotten: AtomicBool,
}

impl SlowStore {
    async fn apply_later(&self, changes: &[Change]) -> Stored<Vec<Option<Applied>>> {
        if self.refuses.load(SeqCst) {
            self.refusals.fetch_add(1, SeqCst);
            return Stored {
                value: vec![None; changes.len()],
                refused: Some("full".to_owned()),
                lost: false,
            };
        }
        let start = self.renewals.load(SeqCst);
        while self.renewals.load(SeqCst) < start + self.renewals_first {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(self.delay).await;
        self.applied.fetch_add(changes.len(), SeqCst);
        Stored {
            value: vec![Some(Applied::Slot { granted: true }); changes.len()],
            ..Stored::default()
        }
    }
}

impl PresenceStore for SlowStore {
    fn renew(&self, _: Lease) -> BoxFuture<'_, Stored<Option<Renewal>>> {
        let until = self.renewals.fetch_add(1, SeqCst) as u64 + 1;
        let expired = Vec::new();
        let stored = Stored::default().map(|()| Some(Renewal::Renewed { until, expired }));
        Box::pin(std::future::ready(stored))
    }

    fn apply<'a>(
        &'a self,
        _: LeaseId,
        _: Option<u64>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Stored<Vec<Option<Applied>>>> {
        Box::pin(self.apply_later(changes))
    }

    fn members<'a>(&'a self, rooms: &'a [Channel]) -> BoxFuture<'a, Stored<Vec<Option<RoomMembers>>>> {
        let members = rooms.iter().map(|_| Some(RoomMembers::default())).collect();
        Box::pin(std::future::ready(Stored::default().map(|()| members)))
    }

    fn claim_cleaning(&self, _: LeaseId, _: LeaseId) -> BoxFuture<'_, Stored<bool>> {
        Box::pin(std::future::ready(Stored::default()))
    }

    fn held(&self, _: LeaseId, _: usize) -> BoxFuture<'_, Stored<Vec<Held>>> {
        Box::pin(std::future::ready(Stored::default()))
    }

    fn forget(&self, _: LeaseId, _: bool) -> BoxFuture<'_, Stored<()>> {
        self.forgotten.store(true, SeqCst);
        Box::pin(std::future::ready(Stored::default()))
    }

    fn expire(&self, _: LeaseId) -> BoxFuture<'_, Stored<()>> {
        Box::pin(std::future::ready(Stored::default()))
    }
}

/// Returns a connected node, which acquires each slot in the store.
async fn node(store: &Arc<SlowStore>) -> TestNode {
    let node = Hub::new(true).node_with("a", Some(store.clone())).await;
    eventually("the node counts with others", async || {
        node.broker.presence().is_connected()
    })
    .await;
    node
}

fn slot(number: usize) -> Slot {
    Slot {
        scope: SlotScope::Name,
        dialect: "broadcast",
        name: number.to_string().into(),
    }
}

#[tokio::test]
async fn the_lease_is_renewed_while_the_store_is_slow() {
    let store = Arc::new(SlowStore {
        renewals_first: 3,
        ..SlowStore::default()
    });
    let node = node(&store).await;
    assert!(node.broker.acquire_slot(slot(1), 1).await);
    assert_eq!(store.applied.load(SeqCst), 1, "the store has granted it");
}

#[tokio::test]
async fn the_lease_is_renewed_while_the_store_refuses() {
    let store = Arc::new(SlowStore::default());
    let node = node(&store).await;
    store.refuses.store(true, SeqCst);
    drop(node.broker.acquire_slot(slot(1), 1));
    eventually("the change is refused three times", async || {
        store.refusals.load(SeqCst) >= 3
    })
    .await;
    let renewals = store.renewals.load(SeqCst);
    eventually("the lease is renewed", async || {
        store.renewals.load(SeqCst) >= renewals + 2
    })
    .await;
    assert!(node.broker.presence_counts().refused >= 3);
    store.refuses.store(false, SeqCst);
    let applied = store.applied.load(SeqCst);
    eventually("the refused change is reported", async || {
        store.applied.load(SeqCst) > applied
    })
    .await;
}

#[tokio::test]
async fn a_node_that_ends_waits_for_a_slow_store() {
    let store = Arc::new(SlowStore {
        delay: Duration::from_millis(250),
        ..SlowStore::default()
    });
    let node = node(&store).await;
    let most = 6 * BATCH;
    let granted = (1..most).map(|number| node.broker.acquire_slot(slot(number), 1));
    let granted = futures_util::future::join_all(granted).await;
    assert!(granted.iter().all(|granted| *granted));
    node.broker.close().await;
    assert_eq!(store.applied.load(SeqCst), 2 * granted.len());
    assert!(store.forgotten.load(SeqCst));
}

#[tokio::test]
async fn a_node_that_ends_does_not_wait_for_an_unavailable_store() {
    let hub = Hub::new(true);
    let node = hub.node_with("a", Some(Arc::new(SlowStore::default()))).await;
    hub.set_away(true);
    node.broker.close().await;
}
