//! Who is in which room on this node, what is on its way to the store, and what this node's connections have been shown.
//!
//! *Connected*, each first and last of this node goes to the store in the order of calls, and its announcement is delivered
//! when it arrives, like every other node's. *Alone* (the store is away, or the receiving connection, or one of both has to be
//! caught up with), this node judges by its views and its own counts, announces to its own connections, and marks what the
//! store must be told later.

use std::{
    collections::{BTreeMap, VecDeque},
    slice,
    time::{Duration, Instant},
};

use ahash::AHashMap;
use fanfare_core::{Channel, Entry, Event, Member, Presence, Present, UserId};
use tokio::sync::oneshot;

use super::{
    room::{LocalUser, Room, StoredAs},
    slots::{SlotChange, SlotChangeKind, Slots},
    view::{Arrived, View},
};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    transport::presence::{LeaseId, RoomMembers, SlotName},
    wire::PresenceMark,
};

/// Fewer marked users are not looked through.
const COMPACT_FROM: usize = 4096;

/// See the module's documentation.
pub(super) struct State {
    pub(super) deliveries: Deliveries,
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
    /// Tasks that were taken and not finished.
    in_flight: usize,
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
    pub(super) fn new(deliveries: Deliveries) -> Self {
        Self {
            deliveries,
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
            in_flight: 0,
            closing: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
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
            .or_insert_with(|| Room::new(name.clone()));
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
        if self.connected {
            let number = self.number();
            self.queue_change(number, name, &member, Presence::Left);
        } else {
            room.show(Presence::Left, &member, &self.deliveries);
            self.mark(name, user);
        }
        self.drop_view_if_empty(name);
    }

    fn queue_change(&mut self, number: u64, name: &Channel, member: &Member, change: Presence) {
        let Some(user) = self
            .rooms
            .get_mut(name)
            .and_then(|room| room.users.get_mut(&member.user))
        else {
            return;
        };
        user.pending += 1;
        self.queue.push_back(Task::Member(MemberChange {
            number,
            room: name.clone(),
            member: member.clone(),
            change,
            since_ms: user.since_ms,
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
            for arrived in view.use_list() {
                self.deliveries.unexpect(slice::from_ref(&arrived.event));
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

    // What the worker carries out.

    /// The next changes in order, at most `most`; each must be finished by [`Self::applied`], [`Self::failed`] or
    /// [`Self::put_back`].
    pub(super) fn take(&mut self, most: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut slots = Vec::new();
        while tasks.len() < most
            && let Some(task) = self.queue.pop_front()
        {
            if let Task::Slot(change) = &task {
                // How many places there are is known after the change before.
                if slots.contains(&change.slot) {
                    self.queue.push_front(task);
                    break;
                }
                slots.push(change.slot.clone());
            }
            tasks.push(task);
        }
        for task in &mut tasks {
            let Task::Member(change) = task else { continue };
            let view = self.rooms.get(&change.room).and_then(|room| room.view.as_ref());
            change.list = view.is_some_and(|view| view.is_fetched_by(change.number));
            let awaited = Awaited {
                room: change.room.clone(),
                member: change.member.clone(),
                change: change.change,
                confirmed: false,
            };
            self.awaited.insert(change.number, awaited);
        }
        self.in_flight += tasks.len();
        tasks
    }

    /// The store's clock says that the lease is over: `tasks` are tried again later.
    pub(super) fn put_back(&mut self, tasks: Vec<Task>) {
        if !self.connected {
            for task in tasks {
                self.failed(task);
            }
            return;
        }
        self.in_flight -= tasks.len();
        for task in tasks.into_iter().rev() {
            self.queue.push_front(task);
        }
    }

    /// The store refused `task`, or the connection was lost: this node judges alone.
    pub(super) fn failed(&mut self, task: Task) {
        self.in_flight -= 1;
        match task {
            Task::Member(change) => {
                if let Some(user) = self
                    .rooms
                    .get_mut(&change.room)
                    .and_then(|room| room.users.get_mut(&change.member.user))
                {
                    // Those whom the store has lost stay so: they must not be announced again.
                    if user.stored != StoredAs::Lost {
                        user.stored = StoredAs::Unknown;
                    }
                }
                self.judge(&change);
            }
            Task::Slot(change) => self.judge_slot(change),
        }
    }

    /// The store has changed a user's record; a transition was announced.
    pub(super) fn applied(&mut self, change: &MemberChange, transition: bool, list: Option<RoomMembers>) {
        self.in_flight -= 1;
        let connected = self.connected;
        let Some(room) = self.rooms.get_mut(&change.room) else {
            return;
        };
        if let Some(user) = room.users.get_mut(&change.member.user) {
            user.pending -= 1;
            user.stored = match change.change {
                Presence::Joined => StoredAs::Held,
                Presence::Left => StoredAs::Absent,
            };
        }
        if !connected {
            self.applied_alone(change, transition);
            return;
        }
        if !transition {
            self.awaited.remove(&change.number);
        } else if let Some(awaited) = self.awaited.get_mut(&change.number) {
            awaited.confirmed = true;
        }
        let user = &change.member.user;
        if let Some(view) = room.view.as_mut().filter(|view| view.is_holding()) {
            if change.change == Presence::Joined && !transition {
                view.answer_later(user, change.number);
            }
            if let Some(list) = list.filter(|_| view.is_fetched_by(change.number)) {
                view.set_list(list, transition.then_some(user));
                let fetched = Fetched {
                    room: change.room.clone(),
                    number: change.number,
                    at: Instant::now(),
                };
                if view.has_all_before(change.number) {
                    self.begin_view(&change.room);
                } else if transition {
                    self.fetched.push_back(fetched);
                } else {
                    self.unmarked.push(fetched);
                }
            }
        } else if change.change == Presence::Joined {
            room.answer_waiting(user, change.number, transition, &self.deliveries);
        }
        self.tidy(&change.room, user);
    }

    /// Lists that no announcement follows. When all has arrived that was published until now, [`Self::begin`] uses them.
    pub(super) fn take_unmarked(&mut self) -> Vec<Fetched> {
        std::mem::take(&mut self.unmarked)
    }

    /// Lists whose announcement has not arrived in time, for whatever reason.
    pub(super) fn take_overdue(&mut self, patience: Duration) -> Vec<Fetched> {
        let is_overdue = |fetched: &Fetched| fetched.at.elapsed() >= patience;
        let count = self
            .fetched
            .iter()
            .take_while(|fetched| is_overdue(fetched))
            .count();
        self.fetched.drain(..count).collect()
    }

    /// Uses a list that was fetched, if that has not happened yet.
    pub(super) fn begin(&mut self, fetched: &Fetched) {
        let view = self.rooms.get(&fetched.room).and_then(|room| room.view.as_ref());
        if view.is_some_and(|view| view.is_fetched_by(fetched.number)) {
            self.begin_view(&fetched.room);
        }
    }

    fn applied_alone(&mut self, change: &MemberChange, transition: bool) {
        self.awaited.remove(&change.number);
        if let Some(room) = self.rooms.get_mut(&change.room) {
            let user = &change.member.user;
            let is_joined = change.change == Presence::Joined;
            if is_joined {
                room.answer_waiting(user, change.number, transition, &self.deliveries);
            }
            if is_joined == room.has(user) {
                room.show(change.change, &change.member, &self.deliveries);
            }
            if room.users.get(user).is_some_and(LocalUser::needs_change) {
                self.mark(&change.room, user);
            }
        }
        self.tidy(&change.room, &change.member.user);
    }

    fn tidy(&mut self, name: &Channel, user: &UserId) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.tidy(user);
            self.drop_view_if_empty(name);
        }
    }

    /// Begins to filter what the connections in a room are shown, with the list that was fetched, if it came.
    fn begin_view(&mut self, name: &Channel) {
        let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut()) else {
            return;
        };
        let held = view.use_list();
        if !view.synced {
            self.unsynced.push_back(name.clone());
        }
        for arrived in held {
            self.deliveries.unexpect(slice::from_ref(&arrived.event));
            let view = self.rooms.get(name).and_then(|room| room.view.as_ref());
            let is_stale = view.is_some_and(|view| view.is_stale(&arrived.mark));
            if is_stale && !(arrived.own && self.awaited.contains_key(&arrived.mark.number)) {
                // Connections that only listen have not seen it. Those that enter are not there yet.
                self.deliveries.push(Item::Event(arrived.event, ReplyTo::Dropped));
            } else {
                self.show(name, arrived);
            }
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let unanswered = room.view.as_mut().map(View::take_unanswered);
        for (user, number) in unanswered.into_iter().flatten() {
            room.answer_waiting(&user, number, false, &self.deliveries);
        }
    }

    /// The store has changed the places of a slot, or `granted` none.
    pub(super) fn applied_slot(&mut self, change: SlotChange, granted: bool) {
        self.in_flight -= 1;
        let SlotChange { slot, kind } = change;
        if let SlotChangeKind::Acquire(_, done) = kind {
            if granted {
                self.slots.take(&slot);
            }
            if done.send(granted).is_err() && granted {
                // The connection is gone already.
                self.release(slot.clone());
            }
        }
        let count = self.slots.count(&slot);
        self.slots.stored(&slot, count);
        self.slots.done(&slot);
    }

    // Alone.

    /// This node judges alone from now on.
    pub(super) fn disconnect(&mut self) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        let fetching = self
            .rooms
            .iter()
            .filter(|(_, room)| room.view.as_ref().is_some_and(View::is_holding));
        let fetching: Vec<Channel> = fetching.map(|(name, _)| name.clone()).collect();
        for name in fetching {
            self.begin_view(&name);
        }
        // What was announced and has not arrived may never arrive.
        let confirmed: Vec<u64> = self
            .awaited
            .iter()
            .filter(|(_, awaited)| awaited.confirmed)
            .map(|(number, _)| *number)
            .collect();
        for number in confirmed {
            if let Some(awaited) = self.awaited.remove(&number)
                && let Some(room) = self.rooms.get_mut(&awaited.room)
                && (awaited.change == Presence::Joined) == room.has(&awaited.member.user)
            {
                room.show(awaited.change, &awaited.member, &self.deliveries);
            }
        }
        for task in std::mem::take(&mut self.queue) {
            match task {
                Task::Member(change) => self.judge(&change),
                Task::Slot(change) => self.judge_slot(change),
            }
        }
    }

    /// Shows what waits for a list that does not come.
    fn give_up_list(&mut self, name: &Channel) {
        let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut()) else {
            return;
        };
        let held = view.use_list();
        self.unsynced.push_back(name.clone());
        self.show_held(name, held, false);
    }

    /// Shows what was held; `stale` is left out if the view was compared with the store meanwhile.
    fn show_held(&mut self, name: &Channel, held: Vec<Arrived>, compared: bool) {
        for arrived in held {
            self.deliveries.unexpect(slice::from_ref(&arrived.event));
            let view = self.rooms.get(name).and_then(|room| room.view.as_ref());
            if !(compared && view.is_some_and(|view| view.is_stale(&arrived.mark))) {
                self.show(name, arrived);
            }
        }
    }

    /// Decides by what this node knows itself what becomes of `change`, and marks it for later.
    fn judge(&mut self, change: &MemberChange) {
        self.awaited.remove(&change.number);
        let user = &change.member.user;
        let Some(room) = self.rooms.get_mut(&change.room) else {
            return;
        };
        if let Some(local) = room.users.get_mut(user) {
            local.pending -= 1;
        }
        let is_joined = change.change == Presence::Joined;
        if is_joined {
            let is_new = room.view.as_ref().is_some_and(|view| !view.contains(user));
            room.answer_waiting(user, change.number, is_new, &self.deliveries);
        }
        if is_joined == room.has(user) {
            room.show(change.change, &change.member, &self.deliveries);
        }
        self.unsync(&change.room);
        self.mark(&change.room, user);
        self.tidy(&change.room, user);
    }

    fn judge_slot(&mut self, change: SlotChange) {
        let SlotChange { slot, kind } = change;
        if let SlotChangeKind::Acquire(_, done) = kind
            && done.send(true).is_ok()
        {
            self.slots.take(&slot);
        }
        self.slots.mark(&slot);
        self.slots.done(&slot);
    }

    /// The store must be told of `user` in `name` when it is there again.
    fn mark(&mut self, name: &Channel, user: &UserId) {
        let Some(local) = self.rooms.get_mut(name).and_then(|room| room.users.get_mut(user)) else {
            return;
        };
        if !std::mem::replace(&mut local.dirty, true) {
            self.dirty.push_back((name.clone(), user.clone()));
            self.compact();
        }
    }

    /// Forgets the marked users about whom the store knows what it should: those who came and left while it was away.
    fn compact(&mut self) {
        if self.dirty.len() < self.compact_at {
            return;
        }
        let rooms = &mut self.rooms;
        let mut idle = Vec::new();
        self.dirty.retain(|(name, id)| {
            let Some(user) = rooms.get_mut(name).and_then(|room| room.users.get_mut(id)) else {
                return false;
            };
            user.dirty = user.needs_change() || user.pending > 0;
            if !user.dirty {
                idle.push((name.clone(), id.clone()));
            }
            user.dirty
        });
        for (name, user) in idle {
            self.tidy(&name, &user);
        }
        self.compact_at = COMPACT_FROM.max(2 * self.dirty.len());
    }

    /// The view of `name` may differ from the store.
    fn unsync(&mut self, name: &Channel) {
        if let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut())
            && std::mem::take(&mut view.synced)
        {
            self.unsynced.push_back(name.clone());
        }
    }

    /// Every view may differ from the store.
    fn unsync_all(&mut self) {
        let names: Vec<Channel> = self.rooms.keys().cloned().collect();
        for name in names {
            self.unsync(&name);
        }
    }

    // Back again.

    /// The receiving connection is there, with all subscriptions, or was lost.
    pub(super) fn set_receiving(&mut self, receiving: bool) {
        self.receiving = receiving;
        if !receiving {
            self.disconnect();
            self.unsync_all();
        }
    }

    /// The lease is gone. What it held was `cleaned`, or the store has lost it.
    pub(super) fn lease_gone(&mut self, cleaned: bool) {
        self.disconnect();
        self.unsync_all();
        let mut marked = Vec::new();
        for (name, room) in &mut self.rooms {
            for (id, user) in &mut room.users {
                if user.stored != StoredAs::Absent {
                    user.stored = if cleaned { StoredAs::Absent } else { StoredAs::Lost };
                }
                if user.needs_change() {
                    marked.push((name.clone(), id.clone()));
                }
            }
        }
        for (name, user) in marked {
            self.mark(&name, &user);
        }
        self.slots.lost();
    }

    /// The next changes that the store must be told of, at most `most`. Each must be finished as those of [`Self::take`].
    pub(super) fn take_marked(&mut self, most: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        while tasks.len() < most
            && let Some((name, user)) = self.dirty.pop_front()
        {
            let number = self.number();
            let Some(local) = self
                .rooms
                .get_mut(&name)
                .and_then(|room| room.users.get_mut(&user))
            else {
                continue;
            };
            local.dirty = false;
            if local.pending > 0 {
                // Its result is not known yet, and marks it again if need be.
                continue;
            }
            if !local.needs_change() {
                self.tidy(&name, &user);
                continue;
            }
            local.pending += 1;
            let is_joined = local.connections > 0;
            tasks.push(Task::Member(MemberChange {
                number,
                member: local.member.clone(),
                change: if is_joined {
                    Presence::Joined
                } else {
                    Presence::Left
                },
                since_ms: local.since_ms,
                announced: !is_joined || local.stored != StoredAs::Lost,
                list: false,
                was_held: matches!(local.stored, StoredAs::Held | StoredAs::Lost),
                room: name,
            }));
        }
        let slots = self.slots.reports(most - tasks.len());
        tasks.extend(slots.into_iter().map(Task::Slot));
        self.in_flight += tasks.len();
        tasks
    }

    /// Whether the store knows all that it should.
    pub(super) fn is_told(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && self.dirty.is_empty() && !self.slots.has_dirty()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Rooms whose members must be compared with the store, at most `most`. What arrives there waits for
    /// [`Self::compared`].
    pub(super) fn take_unsynced(&mut self, most: usize) -> Vec<Channel> {
        let mut names = Vec::new();
        while self.receiving
            && names.len() < most
            && let Some(name) = self.unsynced.pop_front()
        {
            if let Some(view) = self.rooms.get_mut(&name).and_then(|room| room.view.as_mut())
                && !view.synced
                && !view.is_holding()
            {
                view.hold();
                names.push(name);
            }
        }
        names
    }

    /// The store's `list` of a room; `None` if there is none.
    pub(super) fn compared(&mut self, name: &Channel, list: Option<RoomMembers>, own: &[LeaseId]) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if !room.view.as_ref().is_some_and(View::is_holding) {
            // Its last connection left meanwhile, and what arrived since is not in the list.
            return;
        }
        if let Some(list) = list.filter(|_| self.receiving) {
            let held = room.compare(list, own, &self.deliveries);
            self.show_held(name, held, true);
        } else {
            self.give_up_list(name);
        }
    }

    /// Becomes connected if nothing has to be caught up with.
    pub(super) fn connect(&mut self) -> bool {
        self.connected = self.connected
            || self.receiving && self.is_told() && self.unsynced.is_empty() && self.closing.is_none();
        self.connected
    }

    /// This node ends: everything that it holds is marked for release.
    pub(super) fn release_all(&mut self) {
        self.disconnect();
        let mut marked = Vec::new();
        for (name, room) in &mut self.rooms {
            room.occupants = 0;
            for (id, user) in &mut room.users {
                user.connections = 0;
                marked.push((name.clone(), id.clone()));
            }
        }
        for (name, user) in marked {
            self.mark(&name, &user);
        }
        self.slots.release_all();
    }

    // What arrives.

    /// An announcement arrived; this node published it for a connection of its `own`, or not.
    pub(super) fn arrived(&mut self, name: &Channel, mark: PresenceMark, event: Event, own: bool) {
        let arrived = Arrived { mark, event, own };
        let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut()) else {
            if own {
                self.awaited.remove(&arrived.mark.number);
            }
            self.deliveries.push(Item::Event(arrived.event, ReplyTo::Dropped));
            return;
        };
        if !view.is_holding() {
            self.show(name, arrived);
            return;
        }
        let number = arrived.mark.number;
        self.deliveries.expect(slice::from_ref(&arrived.event));
        view.keep(arrived);
        if own && view.has_all_before(number) {
            self.begin_view(name);
        }
    }

    /// Shows what arrived, as far as it is news.
    fn show(&mut self, name: &Channel, arrived: Arrived) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let (mark, user) = (&arrived.mark, &arrived.mark.member.user);
        let is_joined = mark.change == Presence::Joined;
        if !arrived.own {
            if room.view.as_ref().is_some_and(|view| view.is_stale(mark)) {
                return;
            }
        } else if self.awaited.remove(&mark.number).is_some() {
            if is_joined {
                room.answer_waiting(user, mark.number, true, &self.deliveries);
            }
        } else if is_joined != room.has(user) {
            // This node has judged alone meanwhile, and the user has left or come since.
            return;
        }
        room.show_arrived(arrived, &self.deliveries);
    }
}
