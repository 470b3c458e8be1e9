//! Presence: who is in which room, and who holds which slots, counted over all nodes.
//!
//! Each node counts its own connections (`room`), and only the first and the last of a user in a room go to the store that the
//! nodes share ([`PresenceStore`](crate::transport::PresenceStore)), which publishes the announcement in the same step. One task
//! (`worker`) does all that concerns the store, one thing after the other: it renews the node's lease, sends the changes in
//! order and in batches, catches up after an outage, and cleans up after nodes that have died (`cleaner`). What announcements
//! this node's connections are shown is decided by a view of each room (`view`). `state` holds all of it, under one lock, under
//! which the delivery queue is filled, too: so the order of deliveries is the order of changes of the views.

mod cleaner;
mod room;
mod slots;
mod state;
mod term;
mod view;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard};

use fanfare_core::{
    BoxFuture, Channel, Entry, Event, Member, Presence as Transition, PresenceCounts, Present, Slot, UserId,
    locked,
};
use tokio::sync::{Notify, oneshot};

use self::state::State;
use crate::{
    list_limit::ListLimit,
    local,
    node::Node,
    probes::Probes,
    transport::presence::{AnnouncementText, SlotName},
    wire::{self, PresenceMark},
};
pub(crate) use worker::run;

/// See the module's documentation.
pub(crate) struct Presence {
    node: Arc<Node>,
    probes: Arc<Probes>,
    state: Mutex<State>,
    /// Notified when there is something to do.
    work: Notify,
    lists: Arc<ListLimit>,
}

impl Presence {
    pub(crate) fn new(node: Arc<Node>, probes: Arc<Probes>, max_listed_members: usize) -> Self {
        let lists = Arc::new(ListLimit::new(max_listed_members));
        Self {
            state: Mutex::new(State::new(node.deliveries.clone(), Arc::clone(&lists))),
            node,
            probes,
            work: Notify::new(),
            lists,
        }
    }

    /// A connection enters a room.
    pub(crate) fn enter(&self, entry: &Entry) {
        self.state().enter(entry);
        self.work.notify_one();
    }

    /// A connection of `user` leaves `room`.
    pub(crate) fn leave(&self, room: &Channel, user: &UserId) {
        self.state().leave(room, user);
        self.work.notify_one();
    }

    /// The users with a connection on this node in `room`.
    pub(crate) fn present(&self, room: &Channel) -> Vec<Present> {
        self.state().present(room)
    }

    /// How many rooms have members on this node.
    pub(crate) fn rooms(&self) -> usize {
        let state = self.state();
        state.rooms.values().filter(|room| room.occupants > 0).count()
    }

    /// A connection wants one of `most` places of `slot`.
    pub(crate) fn acquire(&self, slot: &Slot, most: usize) -> BoxFuture<'static, bool> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let granted = self.state().acquire(SlotName::from(slot), most);
        self.work.notify_one();
        Box::pin(async move {
            match granted {
                // An error means that the runtime shuts down.
                Some(granted) => granted.await.unwrap_or(true),
                None => true,
            }
        })
    }

    /// A connection gives its place back.
    pub(crate) fn release(&self, slot: &Slot) {
        self.state().release(SlotName::from(slot));
        self.work.notify_one();
    }

    /// An announcement arrived; `own` if this node published it.
    pub(crate) fn arrived(&self, room: &Channel, mark: PresenceMark, event: Event, own: bool) {
        // A cleaner's announcements have no number: they concern users of another node.
        let own = own && mark.number > 0;
        self.state().arrived(room, mark, event, own);
    }

    /// The receiving connection is there with all subscriptions, or was lost.
    pub(crate) fn receiving(&self, receiving: bool) {
        self.state().set_receiving(receiving);
        self.work.notify_one();
    }

    /// Releases what this node holds; resolves when the store has done so, or cannot be reached.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        self.state().closing = Some(done);
        self.work.notify_one();
        closed
    }

    /// What happened since the start, and how much there is now.
    pub(crate) fn counts(&self) -> PresenceCounts {
        PresenceCounts {
            lists_left_out: self.lists.left_out(),
            ..self.state().counts
        }
    }

    /// Whether this node counts with the others.
    #[cfg(test)]
    pub(crate) fn is_connected(&self) -> bool {
        self.state().is_connected()
    }

    /// The text that announces a change in `room`, which the store publishes; `None` if there is nothing to announce.
    fn announcement(
        &self,
        change: Transition,
        room: &Channel,
        member: &Member,
        number: u64,
    ) -> Option<AnnouncementText> {
        let event = local::announcement(&*self.node.inbound, change, room, member)?;
        Some(wire::announcement(&event, &self.node.id, change, member, number))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}
