//! Who is in which room on this node, what is on its way to the store, and what this node's connections have been shown.
//!
//! *Connected*, each first and last of this node goes to the store in the order of calls, and its announcement is delivered
//! when it arrives, like every other node's. *Alone* (the store is away, or the receiving connection, or one of both has to be
//! caught up with), this node judges by its views and its own counts, announces to its own connections, and marks what the
//! store must know later.

mod alone;
mod arrivals;
mod changes;
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
    room::{LocalUser, Room},
    slots::{SlotChange, SlotChangeKind, Slots},
    view::View,
};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    list_limit::ListLimit,
    transport::presence::SlotName,
};

/// Fewer marked users are not looked through.
const COMPACT_FROM: usize = 4096;

/// See the module's documentation.
pub(super) struct State {
    pub(super) deliveries: Deliveries,
    lists: Arc<ListLimit>,
    pub(super) rooms: AHashMap<Channel, Room>,
    pub(super) slots: Slots,
    /// Changes for the store, in the order of calls; empty when alone.
    queue: VecDeque<Task>,
    /// Own changes whose announcement may still arrive, and whether the store has confirmed them.
    awaited: BTreeMap<u64, Awaited>,
    next_number: u64,
    connected: bool,
    /// Whether the receiving connection is there.
    receiving: bool,
    /// Users in rooms about whom the store does not know what it should.
    dirty: VecDeque<(Channel, UserId)>,
    /// How many of them there are when it is time to look who needs it.
    compact_at: usize,
    /// Rooms whose view may differ from the store.
    unsynced: VecDeque<Channel>,
    /// Rooms whose list came before the announcement that shows where in the order of announcements it belongs.
    fetched: VecDeque<Fetched>,
    /// Rooms whose list no announcement follows.
    unmarked: Vec<Fetched>,
    /// Users in rooms whose changes the store had no room for.
    unstored: AHashSet<(Channel, UserId)>,
    /// Tasks that were taken and not finished.
    in_flight: usize,
    /// What happened since the start.
    pub(super) counts: PresenceCounts,
    /// Set when the node ends; sent when the store has let go of it.
    pub(super) closing: Option<oneshot::Sender<()>>,
}

struct Awaited {
    room: Channel,
    member: Member,
    change: Presence,
    confirmed: bool,
}

/// A list of a room's members that came with a change.
pub(super) struct Fetched {
    room: Channel,
    number: u64,
    at: Instant,
}

/// A change for the store.
pub(super) enum Task {
    Member(MemberChange),
    Slot(SlotChange),
}

/// A user enters or leaves a room, as far as this node is concerned.
#[derive(Debug, Clone)]
pub(super) struct MemberChange {
    /// Identifies the change to this node.
    pub(super) number: u64,
    pub(super) room: Channel,
    pub(super) member: Member,
    pub(super) change: Presence,
    pub(super) since_ms: u64,
    /// Whether it is announced if it is a transition.
    pub(super) announced: bool,
    /// Whether the room's members are asked for.
    pub(super) list: bool,
    /// Whether this node knows that its lease holds the user, or that all were shown the user.
    pub(super) was_held: bool,
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
            // A node that restarts under its old name must not take its predecessor's announcements for its own.
            next_number: u64::from(rand::random::<u32>()) << 20,
            connected: false,
            receiving: false,
            dirty: VecDeque::new(),
            compact_at: COMPACT_FROM,
            unsynced: VecDeque::new(),
            fetched: VecDeque::new(),
            unmarked: Vec::new(),
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

    /// What is known of `user` in the room `name`.
    fn user(&mut self, name: &Channel, user: &UserId) -> Option<&mut LocalUser> {
        self.rooms.get_mut(name)?.users.get_mut(user)
    }

    /// What the connections in the room `name` have been shown.
    fn view(&self, name: &Channel) -> Option<&View> {
        self.rooms.get(name)?.view.as_ref()
    }

    fn view_mut(&mut self, name: &Channel) -> Option<&mut View> {
        self.rooms.get_mut(name)?.view.as_mut()
    }

    // What connections do.

    /// A connection enters its room.
    pub(super) fn enter(&mut self, entry: &Entry) {
        let Entry {
            room: name,
            member,
            ticket,
            wants_members,
        } = entry;
        let number = self.number();
        let room = self
            .rooms
            .entry(name.clone())
            .or_insert_with(|| Room::new(name.clone(), Arc::clone(&self.lists)));
        let is_first = room.enter(member);
        if !is_first {
            if !room.wait(&member.user, None, *ticket, *wants_members) {
                room.answer(member, *ticket, *wants_members, false, &self.deliveries);
            }
        } else if self.connected {
            room.view.get_or_insert_with(|| View::fetching(number));
            room.wait(&member.user, Some(number), *ticket, *wants_members);
            self.queue_change(number, name, member, Presence::Joined);
        } else {
            if room.view.is_none() {
                room.view = Some(View::unsynced());
                self.unsynced.push_back(name.clone());
            }
            let is_new = room
                .view
                .as_ref()
                .is_some_and(|view| !view.contains(&member.user));
            room.answer(member, *ticket, *wants_members, is_new, &self.deliveries);
            room.show(Presence::Joined, member, &self.deliveries);
            self.mark(name, &member.user);
        }
    }

    /// A connection of `user` leaves `name`.
    pub(super) fn leave(&mut self, name: &Channel, user: &UserId) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(member) = room.leave(user) else { return };
        if self.connected && room.is_unstored(user) {
            room.show(Presence::Left, &member, &self.deliveries);
        } else if self.connected {
            let number = self.number();
            self.queue_change(number, name, &member, Presence::Left);
        } else {
            room.show(Presence::Left, &member, &self.deliveries);
            // The user may be there by another node, which the store will say.
            self.unsync(name);
            self.mark(name, user);
        }
        self.tidy(name, user);
    }

    fn queue_change(&mut self, number: u64, name: &Channel, member: &Member, change: Presence) {
        let Some(user) = self.user(name, &member.user) else {
            return;
        };
        user.pending += 1;
        let since_ms = user.since_ms;
        self.queue.push_back(Task::Member(MemberChange {
            number,
            room: name.clone(),
            member: member.clone(),
            change,
            since_ms,
            announced: true,
            list: false,
            was_held: true,
        }));
    }

    /// Nothing is filtered for connections that only listen.
    fn drop_view_if_empty(&mut self, name: &Channel) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.occupants > 0 {
            return;
        }
        if let Some(mut view) = room.view.take() {
            // Announcements are not awaited where nothing is filtered: this node may not even listen any more.
            self.awaited
                .retain(|_, awaited| awaited.room != *name || !awaited.confirmed);
            for arrived in view.use_list() {
                self.deliveries.unreserve(slice::from_ref(&arrived.event));
                self.deliveries.push(Item::Event(arrived.event, ReplyTo::Dropped));
            }
        }
        if room.is_idle() {
            self.rooms.remove(name);
            if self.rooms.capacity() > 1024 && self.rooms.len() * 4 < self.rooms.capacity() {
                self.rooms.shrink_to_fit();
            }
        }
    }

    /// A connection wants one of `most` places of `slot`. `None`: it has it; else the result follows.
    pub(super) fn acquire(&mut self, slot: SlotName, most: u32) -> Option<oneshot::Receiver<bool>> {
        if !self.connected {
            self.slots.take(&slot);
            self.slots.mark(&slot);
            return None;
        }
        let (done, granted) = oneshot::channel();
        self.slots.queued(&slot);
        let kind = SlotChangeKind::Acquire(most, done);
        self.queue.push_back(Task::Slot(SlotChange { slot, kind }));
        Some(granted)
    }

    /// A connection gives its place back.
    pub(super) fn release(&mut self, slot: SlotName) {
        self.slots.give_back(&slot);
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

    fn tidy(&mut self, name: &Channel, user: &UserId) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.tidy(user);
            self.drop_view_if_empty(name);
        }
    }
}
