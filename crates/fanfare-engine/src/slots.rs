//! Acquires slots, which are limited over all nodes: a connection's name, or a connection of one user.

use std::{future::Future, sync::Arc};

use fanfare_core::{Slot, SlotScope, UserAtCapacity, UserId};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{MountedDialect, Node};

/// A slot of a connection on this node, released when it is dropped.
pub(super) struct SlotGuard {
    node: Arc<Node>,
    slot: Slot,
}

/// A guard in a box, because few connections have one, and all would have its size.
pub(super) type HeldSlot = Box<SlotGuard>;

/// Acquires the only slot of `name` in the dialect; returns `None` if another connection has it.
pub(super) async fn of_name(node: &Arc<Node>, mounted: &MountedDialect, name: &str) -> Option<HeldSlot> {
    let slot = Slot {
        scope: SlotScope::Name,
        dialect: mounted.name,
        name: name.into(),
    };
    acquire(node.clone(), slot, 1).await
}

/// Acquires one of the slots of `user` in the dialect; returns `None` without a user or a limit.
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

/// Acquires one of `most` slots. If the caller is dropped while it waits, its slot is released.
async fn acquire(node: Arc<Node>, slot: Slot, most: usize) -> Option<HeldSlot> {
    let mut acquiring = node.broker().acquire_slot(slot.clone(), most);
    let guard = move |is_mine: bool| is_mine.then(|| Box::new(SlotGuard { node, slot }));
    if let Some(is_mine) = (&mut acquiring).now_or_never() {
        return guard(is_mine);
    }
    let (report, acquired) = oneshot::channel();
    tokio::spawn(async move {
        // If the caller was dropped, this drops the guard.
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
