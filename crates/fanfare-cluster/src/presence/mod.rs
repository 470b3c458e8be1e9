//! Presence: the members of rooms and the holders of slots, counted over all nodes.
//!
//! Each node counts its own connections (`room`). Only the first and the last connection of a user in a room are reported to the
//! shared store ([`PresenceStore`](crate::transport::PresenceStore)), which publishes the announcement in the same step. One task
//! (`worker`) makes all calls of the store, one after the other: it renews the node's lease, sends the changes in order and in
//! batches, catches up after an outage, and cleans up after dead nodes (`cleaner`). A view of each room (`view`) decides which
//! announcements are delivered to this node's connections. `state` holds all of it under one lock. The delivery queue is filled
//! under the same lock, so deliveries have the order of the views' changes.

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
    /// Wakes the worker.
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

    /// Adds a connection to its room.
    pub(crate) fn enter(&self, entry: &Entry) {
        self.state().enter(entry);
        self.work.notify_one();
    }

    /// Removes a connection of `user` from `room`.
    pub(crate) fn leave(&self, room: &Channel, user: &UserId) {
        self.state().leave(room, user);
        self.work.notify_one();
    }

    /// Returns the users with a connection on this node in `room`.
    pub(crate) fn present(&self, room: &Channel) -> Vec<Present> {
        self.state().present(room)
    }

    /// Returns the number of rooms with members on this node.
    pub(crate) fn rooms(&self) -> usize {
        let state = self.state();
        state.rooms.values().filter(|room| room.occupants > 0).count()
    }

    /// Acquires one of `most` places of `slot`. Returns `false` if they are all taken.
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

    /// Releases a place of `slot`.
    pub(crate) fn release(&self, slot: &Slot) {
        self.state().release(SlotName::from(slot));
        self.work.notify_one();
    }

    /// Receives an announcement; `own` if this node published it.
    pub(crate) fn receive(&self, room: &Channel, mark: PresenceMark, event: Event, own: bool) {
        // A cleaner's announcements have the number 0: they concern users of another node.
        let own = own && mark.number > 0;
        self.state().receive(room, mark, event, own);
    }

    /// Notes whether the receiving connection is open, with all subscriptions in force.
    pub(crate) fn set_receiving(&self, receiving: bool) {
        self.state().set_receiving(receiving);
        self.work.notify_one();
    }

    /// Releases all members and slots of this node. The receiver resolves when the store has released them, or is unavailable.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        let (done, closed) = oneshot::channel();
        self.state().closing = Some(done);
        self.work.notify_one();
        closed
    }

    /// Returns the figures since the start.
    pub(crate) fn counts(&self) -> PresenceCounts {
        PresenceCounts {
            lists_left_out: self.lists.left_out(),
            ..self.state().counts
        }
    }

    /// Returns whether this node counts with the others.
    #[cfg(test)]
    pub(crate) fn is_connected(&self) -> bool {
        self.state().is_connected()
    }

    /// Returns the text that announces a change in `room`, for the store to publish; `None` if the dialect announces nothing.
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
