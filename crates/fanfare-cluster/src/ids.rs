//! Idempotency keys. A node claims them in the store that the cluster shares, and in its own memory, which decides while the store is
//! unavailable.

use std::sync::Arc;

use fanfare_core::{Claim, Receipt};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    id_memory::IdMemory,
    node::Node,
    status::Refused,
    transport::{Sender, Stored, WantedId},
};

/// The idempotency keys of a node and its cluster.
pub(crate) struct Ids {
    node: Arc<Node>,
    pub(crate) memory: IdMemory,
}

impl Ids {
    pub(crate) fn new(node: Arc<Node>, max_remembered_ids: usize) -> Self {
        Self {
            node,
            memory: IdMemory::new(max_remembered_ids),
        }
    }

    /// Claims `ids` and sends the claims to `claims`. Releases the ids if the caller has stopped waiting.
    pub(crate) async fn claim(&self, ids: Vec<Uuid>, claims: oneshot::Sender<Vec<Claim>>) {
        let wanted = ids.iter().map(|id| WantedId {
            id: *id,
            receiving_since: None,
        });
        let stored = self.claim_stored(&wanted.collect::<Vec<_>>()).await;
        let mut claimed = Vec::with_capacity(ids.len());
        let mut unstored = Vec::new();
        for (at, &id) in ids.iter().enumerate() {
            let stored = stored.get(at).copied().flatten();
            let claim = self.memory.claim_after(id, stored);
            if let (Some(Claim::New | Claim::Taken), Claim::Published(Some(receipt))) = (stored, claim) {
                unstored.push((id, receipt));
            }
            claimed.push(claim);
        }
        if !unstored.is_empty() {
            // The store was unavailable when these were published.
            self.settle(&unstored).await;
        }
        if let Err(claimed) = claims.send(claimed) {
            let new = ids.into_iter().zip(claimed);
            let new = new.filter_map(|(id, claim)| (claim == Claim::New).then_some(id));
            self.release(new.collect()).await;
        }
    }

    /// Claims ids together with all nodes that received them. Returns for each whether it is new. Of equal ids only the first may be new.
    pub(crate) async fn claim_together(&self, ids: &[WantedId]) -> Vec<bool> {
        self.claim_together_by(&self.memory, ids).await
    }

    /// As [`Self::claim_together`], with another memory than this node's.
    pub(crate) async fn claim_together_by(&self, memory: &IdMemory, ids: &[WantedId]) -> Vec<bool> {
        if ids.is_empty() {
            return Vec::new();
        }
        let stored = self.claim_stored(ids).await;
        let claim = |(at, received): (usize, &WantedId)| {
            let claim = memory.claim_after(received.id, stored.get(at).copied().flatten());
            if claim == Claim::New {
                memory.record(received.id, &Receipt::default());
            }
            claim == Claim::New
        };
        ids.iter().enumerate().map(claim).collect()
    }

    /// Claims `ids` in the store. Returns no answers while the store is unavailable.
    async fn claim_stored(&self, ids: &[WantedId]) -> Vec<Option<Claim>> {
        match self.node.link.current() {
            Some(sender) => self.stored(&sender, sender.ids().claim(ids).await),
            None => Vec::new(),
        }
    }

    /// Stores receipts, for ids that the store remembers.
    pub(crate) async fn settle(&self, receipts: &[(Uuid, Receipt)]) {
        if let Some(sender) = self.node.link.current() {
            self.stored(&sender, sender.ids().settle(receipts).await);
        }
    }

    /// Releases `ids`.
    pub(crate) async fn release(&self, ids: Vec<Uuid>) {
        // First in this node's memory: otherwise a claim between the two would be new to the store and known here, and stay taken.
        for id in &ids {
            self.memory.release(*id);
        }
        if let Some(sender) = self.node.link.current() {
            self.stored(&sender, sender.ids().release(&ids).await);
        }
    }

    /// Returns the value of a store's reply, and logs a refusal.
    fn stored<T>(&self, sender: &Arc<dyn Sender>, stored: Stored<T>) -> T {
        if let Some(error) = &stored.refused {
            self.node.status.refused(Refused::Ids, error);
        }
        if stored.lost {
            self.node.link.failed(sender);
        }
        stored.value
    }
}
