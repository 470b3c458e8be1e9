//! One room: this node's users in it, and what its connections have been shown.

use std::{sync::Arc, time::SystemTime};

use ahash::AHashMap;
use fanfare_core::{Channel, Entered, EntryTicket, Member, Presence, Present, UserId, unix_millis};

use super::view::{Arrived, View};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    list_limit::ListLimit,
    transport::presence::{LeaseId, RoomMembers},
};

/// A room with users of this node, or with changes on their way.
pub(super) struct Room {
    name: Channel,
    lists: Arc<ListLimit>,
    pub(super) users: AHashMap<UserId, LocalUser>,
    /// What its connections have been shown; there while this node has a connection in the room.
    pub(super) view: Option<View>,
    /// How many of `users` have a connection here.
    pub(super) occupants: usize,
}

/// A user of this node in a room.
pub(super) struct LocalUser {
    pub(super) member: Member,
    pub(super) connections: u32,
    pub(super) since_ms: u64,
    pub(super) stored: StoredAs,
    /// Changes that are queued or on their way.
    pub(super) pending: u32,
    pub(super) dirty: bool,
    /// The connections that wait for the result of a change, by its number.
    waiting: Vec<WaitingConnection>,
}

struct WaitingConnection {
    number: u64,
    ticket: EntryTicket,
    wants_members: bool,
}

/// What the store knows of a user of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredAs {
    /// Nothing.
    Absent,
    /// The node's lease holds the user.
    Held,
    /// One of the two.
    Unknown,
    /// Nothing, because it has lost what it knew: the other nodes were shown the user.
    Lost,
}

impl LocalUser {
    fn new(member: &Member) -> Self {
        Self {
            member: member.clone(),
            connections: 0,
            since_ms: 0,
            stored: StoredAs::Absent,
            pending: 0,
            dirty: false,
            waiting: Vec::new(),
        }
    }

    /// Whether the store does not know of the user what it should.
    pub(super) fn needs_change(&self) -> bool {
        if self.connections > 0 {
            self.stored != StoredAs::Held
        } else {
            self.stored != StoredAs::Absent
        }
    }

    fn is_idle(&self) -> bool {
        self.connections == 0 && self.pending == 0 && !self.dirty && self.stored == StoredAs::Absent
    }
}

impl Room {
    pub(super) fn new(name: Channel, lists: Arc<ListLimit>) -> Self {
        Self {
            name,
            lists,
            users: AHashMap::new(),
            view: None,
            occupants: 0,
        }
    }

    /// A connection of `member` enters. Returns whether it is the user's first on this node.
    pub(super) fn enter(&mut self, member: &Member) -> bool {
        let user = self
            .users
            .entry(member.user.clone())
            .or_insert_with(|| LocalUser::new(member));
        user.connections += 1;
        let is_first = user.connections == 1;
        if is_first {
            user.member = member.clone();
            user.since_ms = unix_millis(SystemTime::now());
            self.occupants += 1;
        }
        is_first
    }

    /// A connection of `user` leaves. Returns the member if it is the user's last on this node.
    pub(super) fn leave(&mut self, user: &UserId) -> Option<Member> {
        let user = self.users.get_mut(user).filter(|user| user.connections > 0)?;
        user.connections -= 1;
        let is_last = user.connections == 0;
        if is_last {
            self.occupants -= 1;
        }
        is_last.then(|| user.member.clone())
    }

    /// Whether nothing is known of the room that would be missed.
    pub(super) fn is_idle(&self) -> bool {
        self.users.is_empty()
    }

    /// Forgets `user` if nothing is known of it that would be missed.
    pub(super) fn tidy(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(LocalUser::is_idle) {
            self.users.remove(user);
        }
    }

    /// Whether `user` has a connection here.
    pub(super) fn has(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|user| user.connections > 0)
    }

    /// Whether the store knows nothing of `user`, and no change is on its way.
    pub(super) fn is_unstored(&self, user: &UserId) -> bool {
        let user = self.users.get(user);
        user.is_some_and(|user| user.pending == 0 && user.stored == StoredAs::Absent)
    }

    /// The users with a connection here.
    pub(super) fn present(&self) -> impl Iterator<Item = Present> {
        let here = self.users.values().filter(|user| user.connections > 0);
        here.map(|user| Present {
            member: user.member.clone(),
            connections: user.connections,
            since_ms: user.since_ms,
        })
    }

    // Connections that wait.

    /// A connection waits for change `number`; `None` if it waits for what its user's other connections wait for, or for
    /// nothing. Returns whether it waits.
    pub(super) fn wait(
        &mut self,
        user: &UserId,
        number: Option<u64>,
        ticket: EntryTicket,
        wants_members: bool,
    ) -> bool {
        let Some(user) = self.users.get_mut(user) else {
            return false;
        };
        let Some(number) = number.or_else(|| Some(user.waiting.last()?.number)) else {
            return false;
        };
        user.waiting.push(WaitingConnection {
            number,
            ticket,
            wants_members,
        });
        true
    }

    /// Answers one connection of `user`, which waits for nothing.
    pub(super) fn answer(
        &self,
        member: &Member,
        ticket: EntryTicket,
        wants_members: bool,
        first: bool,
        deliveries: &Deliveries,
    ) {
        let view = self.view.as_ref().filter(|_| wants_members);
        let members = match view {
            Some(view) => view.list_with(member, &self.lists),
            None => wants_members.then(|| vec![member.clone()]),
        };
        deliveries.push(Item::Entered(ticket, Entered { first, members }));
    }

    /// Answers the connections of `user` that wait for change `number` or one before it.
    pub(super) fn answer_waiting(
        &mut self,
        user: &UserId,
        number: u64,
        first: bool,
        deliveries: &Deliveries,
    ) {
        let Some(local) = self.users.get_mut(user) else {
            return;
        };
        let later = local.waiting.iter().position(|waiting| waiting.number > number);
        let answered: Vec<WaitingConnection> = local
            .waiting
            .drain(..later.unwrap_or(local.waiting.len()))
            .collect();
        let member = local.member.clone();
        let mut first = first;
        for waiting in answered {
            let is_first = waiting.number == number && std::mem::take(&mut first);
            self.answer(
                &member,
                waiting.ticket,
                waiting.wants_members,
                is_first,
                deliveries,
            );
        }
    }

    // What its connections are shown.

    /// `member` has joined or left as far as this node can know; it announces that to its own connections.
    pub(super) fn show(&mut self, change: Presence, member: &Member, deliveries: &Deliveries) {
        let Some(view) = &mut self.view else { return };
        if view.change(change, member) {
            deliveries.push(Item::Announce(change, self.name.clone(), member.clone()));
        }
    }

    /// Shows what arrived, if it is news.
    pub(super) fn show_arrived(&mut self, arrived: Arrived, deliveries: &Deliveries) {
        let Arrived { mark, event, .. } = arrived;
        let view = self.view.as_mut();
        if view.is_none_or(|view| view.change_by(&mark)) {
            deliveries.push(Item::Event(event, ReplyTo::Dropped));
        }
    }

    /// Compares the view with the store's `list` and announces the differences. Users whom only `own` leases hold are judged by
    /// their connections. Returns what arrived meanwhile.
    pub(super) fn compare(
        &mut self,
        list: RoomMembers,
        own: &[LeaseId],
        deliveries: &Deliveries,
    ) -> Vec<Arrived> {
        let mut list = list;
        let users = &self.users;
        list.members.retain(|held| {
            let is_here = users
                .get(&held.member.user)
                .is_some_and(|user| user.connections > 0);
            is_here || held.leases.iter().any(|lease| !own.contains(lease))
        });
        let Some(view) = &mut self.view else {
            return Vec::new();
        };
        if list.too_many || view.is_unlisted() {
            // What its connections have been shown is not known, so there is nothing to compare.
            let held = view.install(list);
            for user in users.values().filter(|user| user.connections > 0) {
                view.joined(&user.member);
            }
            return held;
        }
        let listed: AHashMap<&UserId, ()> = list.members.iter().map(|held| (&held.member.user, ())).collect();
        let is_here = |user: &UserId| users.get(user).is_some_and(|user| user.connections > 0);
        let gone: Vec<Member> = view
            .members()
            .filter(|member| !listed.contains_key(&member.user) && !is_here(&member.user))
            .cloned()
            .collect();
        let here = users.values().filter(|user| user.connections > 0);
        let joined: Vec<Member> = list
            .members
            .iter()
            .map(|held| &held.member)
            .chain(here.map(|user| &user.member))
            .filter(|member| !view.contains(&member.user))
            .cloned()
            .collect();
        let local: Vec<Member> = view
            .members()
            .chain(&joined)
            .filter(|member| is_here(&member.user) && !listed.contains_key(&member.user))
            .cloned()
            .collect();
        let held = view.install(list);
        for member in &local {
            view.joined(member);
        }
        for member in gone {
            deliveries.push(Item::Announce(Presence::Left, self.name.clone(), member));
        }
        for member in joined {
            deliveries.push(Item::Announce(Presence::Joined, self.name.clone(), member));
        }
        held
    }
}
