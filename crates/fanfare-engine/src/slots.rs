//! Places that are limited over all nodes: a connection's name, and the connections of one user.

use std::{future::Future, sync::Arc};

use fanfare_core::{Slot, SlotScope, UserAtCapacity, UserId};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{MountedDialect, Node};

/// A place of a connection on this node. Dropping it releases the place.
pub(super) struct SlotGuard {
    node: Arc<Node>,
    slot: Slot,
}

/// A guard on the heap, because few connections have one and all would pay for its size.
pub(super) type HeldSlot = Box<SlotGuard>;

/// Takes the only place of `name` in the dialect; `None` if another connection has it.
pub(super) async fn of_name(node: &Arc<Node>, mounted: &MountedDialect, name: &str) -> Option<HeldSlot> {
    let slot = Slot {
        scope: SlotScope::Name,
        dialect: mounted.name,
        name: name.into(),
    };
    acquire(node.clone(), slot, 1).await
}

/// Takes one of the places of `user` in the dialect; none without a user or a limit.
pub(super) fn of_user(
    node: &Arc<Node>,
    mounted: &MountedDialect,
    user: Option<&UserId>,
) -> impl Future<Output = Result<Option<HeldSlot>, UserAtCapacity>> + use<> {
    let (node, most) = (node.clone(), mounted.settings().max_connections_per_user);
    let slot = user.filter(|_| most > 0).map(|user| Slot {
        scope: SlotScope::User,
        dialect: mounted.name,
        name: (**user).into(),
    });
    async move {
        let Some(slot) = slot else { return Ok(None) };
        acquire(node, slot, most).await.map(Some).ok_or(UserAtCapacity)
    }
}

/// Takes one of `most` places. If the caller is dropped while it waits, its place is released.
async fn acquire(node: Arc<Node>, slot: Slot, most: usize) -> Option<HeldSlot> {
    let mut acquiring = node.broker().acquire_slot(slot.clone(), most);
    let guard = move |is_mine: bool| is_mine.then(|| Box::new(SlotGuard { node, slot }));
    if let Some(is_mine) = (&mut acquiring).now_or_never() {
        return guard(is_mine);
    }
    let (report, acquired) = oneshot::channel();
    tokio::spawn(async move {
        // If the caller is gone, the guard is dropped here.
        let _ = report.send(guard(acquiring.await));
    });
    // An error means that the broker panicked.
    acquired.await.ok().flatten()
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.node.broker().release_slot(self.slot.clone());
    }
}
