//! The members of rooms on this node, the changes in flight to the store, and the views of the rooms.
//!
//! While the node is *connected*, the first and the last connection of each user go to the store in the order of calls. The node
//! delivers their announcements when they arrive, like those of other nodes. It is *disconnected* while the store or the receiving
//! connection is unavailable, and until it has caught up with both. Then it decides by its views and its own counts, announces to
//! its own connections, and marks the changes that the store must receive later.

mod arrivals;
mod changes;
mod disconnected;
mod full;
mod recovery;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    slice,
    sync::Arc,
};

use ahash::{AHashMap, AHashSet};
use fanfare_core::{Channel, Entry, Member, Presence, PresenceCounts, Present, UserId};
use tokio::{sync::oneshot, time::Instant};

use super::{
    room::{LocalUser, MemberChange, Room, WaitingConnection},
    slots::{SlotChange, SlotChangeKind, Slots},
    view::View,
};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    list_limit::ListLimit,
    transport::presence::SlotName,
};

/// The smallest number of marked users that are [compacted](State::compact).
const COMPACT_FROM: usize = 4096;

/// See the module's documentation.
pub(super) struct State {
    pub(super) deliveries: Deliveries,
    lists: Arc<ListLimit>,
    pub(super) rooms: AHashMap<Channel, Room>,
    pub(super) slots: Slots,
    /// The changes for the store, in the order of calls; empty while disconnected.
    queue: VecDeque<Task>,
    /// This node's changes whose announcements may still arrive, by number.
    awaited: BTreeMap<u64, AwaitedAnnouncement>,
    next_number: u64,
    connected: bool,
    /// Whether the receiving connection is open.
    receiving: bool,
    /// The marked users: the store must receive a change of each.
    dirty: VecDeque<(Channel, UserId)>,
    /// The length of `dirty` at which it is compacted.
    compact_at: usize,
    /// The rooms whose view may differ from the store.
    unsynced: VecDeque<Channel>,
    /// The lists that wait for the announcement of the change that fetched them. It marks their place among the announcements.
    fetched: VecDeque<FetchedList>,
    /// The lists that were fetched by a change without an announcement.
    unannounced: Vec<FetchedList>,
    /// The users whose changes the store had no room for.
    unstored: AHashSet<(Channel, UserId)>,
    /// The number of tasks that were taken and not finished.
    in_flight: usize,
    /// The figures since the start.
    pub(super) counts: PresenceCounts,
    /// Set when the node ends; sent when the store has released its members and slots.
    pub(super) closing: Option<oneshot::Sender<()>>,
}

struct AwaitedAnnouncement {
    room: Channel,
    member: Member,
    change: Presence,
    /// The store has confirmed the change.
    confirmed: bool,
}

/// A list of a room's members that was fetched by change `number`.
pub(super) struct FetchedList {
    room: Channel,
    number: u64,
    at: Instant,
}

/// A change for the store.
pub(super) enum Task {
    Member(MemberChange),
    Slot(SlotChange),
}

impl State {
    pub(super) fn new(deliveries: Deliveries, lists: Arc<ListLimit>) -> Self {
        Self {
            deliveries,
            lists,
            rooms: AHashMap::new(),
            slots: Slots::default(),
            queue: VecDeque::new(),
            awaited: BTreeMap::new(),
            // After a restart under the same name, the node must not mistake announcements of the last process for its own.
            next_number: u64::from(rand::random::<u32>()) << 20,
            connected: false,
            receiving: false,
            dirty: VecDeque::new(),
            compact_at: COMPACT_FROM,
            unsynced: VecDeque::new(),
            fetched: VecDeque::new(),
            unannounced: Vec::new(),
            unstored: AHashSet::new(),
            in_flight: 0,
            counts: PresenceCounts::default(),
            closing: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn user(&mut self, name: &Channel, user: &UserId) -> Option<&mut LocalUser> {
        self.rooms.get_mut(name)?.users.get_mut(user)
    }

    fn view(&self, name: &Channel) -> Option<&View> {
        self.rooms.get(name)?.view.as_ref()
    }

    fn view_mut(&mut self, name: &Channel) -> Option<&mut View> {
        self.rooms.get_mut(name)?.view.as_mut()
    }

    // Calls of connections.

    /// Adds a connection to its room.
    pub(super) fn enter(&mut self, entry: &Entry) {
        let Entry {
            room: name,
            member,
            ticket,
            wants_members,
        } = entry;
        let number = self.number();
        let mut connection = WaitingConnection {
            number,
            ticket: *ticket,
            wants_members: *wants_members,
        };
        let room = self
            .rooms
            .entry(name.clone())
            .or_insert_with(|| Room::new(name.clone(), Arc::clone(&self.lists)));
        let is_first = room.enter(member);
        if !is_first {
            if let Some(awaited) = room.awaited_number(&member.user) {
                connection.number = awaited;
                room.wait(&member.user, connection);
            } else {
                room.answer(member, &connection, false, &self.deliveries);
            }
        } else if self.connected {
            room.view.get_or_insert_with(|| View::fetching(number));
            room.wait(&member.user, connection);
            self.queue_change(number, name, &member.user);
        } else {
            if room.view.is_none() {
                room.view = Some(View::default());
                self.unsynced.push_back(name.clone());
            }
            let is_new = room
                .view
                .as_ref()
                .is_some_and(|view| !view.contains(&member.user));
            room.answer(member, &connection, is_new, &self.deliveries);
            room.show(Presence::Joined, member, &self.deliveries);
            self.mark(name, &member.user);
        }
    }

    /// Removes a connection of `user` from the room `name`.
    pub(super) fn leave(&mut self, name: &Channel, user: &UserId) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(member) = room.leave(user) else { return };
        if self.connected && room.is_unstored(user) {
            room.show(Presence::Left, &member, &self.deliveries);
        } else if self.connected {
            let number = self.number();
            self.queue_change(number, name, user);
        } else {
            room.show(Presence::Left, &member, &self.deliveries);
            // The user may be present by another node: the store's list will show it.
            self.unsync(name);
            self.mark(name, user);
        }
        self.remove_if_idle(name, user);
    }

    fn queue_change(&mut self, number: u64, name: &Channel, user: &UserId) {
        if let Some(user) = self.user(name, user) {
            let change = user.begin_change(number, name);
            self.queue.push_back(Task::Member(change));
        }
    }

    /// Removes the view of a room that this node has no connection in: connections that only listen receive all announcements.
    fn drop_view_if_empty(&mut self, name: &Channel) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.occupants > 0 {
            return;
        }
        if let Some(mut view) = room.view.take() {
            // Without a view no announcement is awaited: this node may have unsubscribed from the room.
            self.awaited
                .retain(|_, awaited| awaited.room != *name || !awaited.confirmed);
            for announcement in view.apply_list() {
                self.deliveries.unreserve(slice::from_ref(&announcement.event));
                self.deliveries
                    .push(Item::Event(announcement.event, ReplyTo::Dropped));
            }
        }
        if room.users.is_empty() {
            self.rooms.remove(name);
            if self.rooms.capacity() > 1024 && self.rooms.len() * 4 < self.rooms.capacity() {
                self.rooms.shrink_to_fit();
            }
        }
    }

    /// Acquires one of `most` places of `slot`. Returns `None` if this node has granted it without the store.
    pub(super) fn acquire(&mut self, slot: SlotName, most: u32) -> Option<oneshot::Receiver<bool>> {
        if !self.connected {
            self.slots.add(&slot);
            self.slots.mark(&slot);
            return None;
        }
        let (done, granted) = oneshot::channel();
        self.slots.queued(&slot);
        let kind = SlotChangeKind::Acquire(most, done);
        self.queue.push_back(Task::Slot(SlotChange { slot, kind }));
        Some(granted)
    }

    /// Releases a place of `slot`.
    pub(super) fn release(&mut self, slot: SlotName) {
        self.slots.remove(&slot);
        if self.connected {
            self.slots.queued(&slot);
            let kind = SlotChangeKind::Report;
            self.queue.push_back(Task::Slot(SlotChange { slot, kind }));
        } else {
            self.slots.mark(&slot);
        }
    }

    pub(super) fn present(&self, name: &Channel) -> Vec<Present> {
        self.rooms
            .get(name)
            .map_or_else(Vec::new, |room| room.present().collect())
    }

    fn remove_if_idle(&mut self, name: &Channel, user: &UserId) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.remove_if_idle(user);
            self.drop_view_if_empty(name);
        }
    }
}
