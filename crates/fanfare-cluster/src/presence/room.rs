//! One room: this node's users in it, and the members that its connections have been shown.

use std::{sync::Arc, time::SystemTime};

use ahash::AHashMap;
use fanfare_core::{Channel, Entered, EntryTicket, Member, Presence, Present, UserId, unix_millis};

use super::view::{ReceivedAnnouncement, View};
use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    list_limit::ListLimit,
    transport::presence::{LeaseId, RoomMembers},
};

/// A room with users of this node, or with changes that the store has not confirmed.
pub(super) struct Room {
    name: Channel,
    lists: Arc<ListLimit>,
    pub(super) users: AHashMap<UserId, LocalUser>,
    /// The members that its connections have been shown; `None` while this node has no connection in the room.
    pub(super) view: Option<View>,
    /// The number of `users` with a connection to this node.
    pub(super) occupants: usize,
}

/// A user of this node in a room.
pub(super) struct LocalUser {
    pub(super) member: Member,
    pub(super) connections: u32,
    pub(super) since_ms: u64,
    pub(super) stored: StoredAs,
    /// The changes that are queued or in flight.
    pub(super) pending: u32,
    /// It is marked: the store must receive a change.
    pub(super) dirty: bool,
    /// The connections that wait for the result of a change, in the order of the changes' numbers.
    waiting: Vec<WaitingConnection>,
}

/// A connection that entered and is not answered.
pub(super) struct WaitingConnection {
    /// The number of the change that it waits for.
    pub(super) number: u64,
    pub(super) ticket: EntryTicket,
    pub(super) wants_members: bool,
}

/// A user enters or leaves a room by the user's first or last connection to this node.
#[derive(Debug, Clone)]
pub(super) struct MemberChange {
    /// Identifies the change in this node.
    pub(super) number: u64,
    pub(super) room: Channel,
    pub(super) member: Member,
    pub(super) change: Presence,
    pub(super) since_ms: u64,
    /// Whether it is announced if it is a transition.
    pub(super) announced: bool,
    /// Whether the store returns the room's members.
    pub(super) list: bool,
    /// Whether this node's lease holds the user, or all nodes were shown the user.
    pub(super) was_held: bool,
}

/// The state of a user of this node in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredAs {
    /// The node's lease does not hold the user.
    Absent,
    /// The node's lease holds the user.
    Held,
    /// `Absent` or `Held`.
    Unknown,
    /// The store has lost its records, but the other nodes were shown the user.
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

    /// Returns whether the store must change its record of the user.
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

    pub(super) fn is_here(&self) -> bool {
        self.connections > 0
    }

    /// Returns change `number` of the user in `room`, which is pending from now on.
    pub(super) fn begin_change(&mut self, number: u64, room: &Channel) -> MemberChange {
        self.pending += 1;
        MemberChange {
            number,
            room: room.clone(),
            member: self.member.clone(),
            change: if self.is_here() {
                Presence::Joined
            } else {
                Presence::Left
            },
            since_ms: self.since_ms,
            announced: true,
            list: false,
            was_held: true,
        }
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

    /// Adds a connection of `member`. Returns whether it is the user's first on this node.
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

    /// Removes a connection of `user`. Returns the member if it was the user's last on this node.
    pub(super) fn leave(&mut self, user: &UserId) -> Option<Member> {
        let user = self.users.get_mut(user).filter(|user| user.is_here())?;
        user.connections -= 1;
        let is_last = user.connections == 0;
        if is_last {
            self.occupants -= 1;
        }
        is_last.then(|| user.member.clone())
    }

    /// Removes `user` if it has no connection and the store has no record of it.
    pub(super) fn remove_if_idle(&mut self, user: &UserId) {
        if self.users.get(user).is_some_and(LocalUser::is_idle) {
            self.users.remove(user);
        }
    }

    /// Returns whether `user` has a connection to this node.
    pub(super) fn has(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(LocalUser::is_here)
    }

    /// Returns whether the store has no record of `user` and no change of it is pending.
    pub(super) fn is_unstored(&self, user: &UserId) -> bool {
        let user = self.users.get(user);
        user.is_some_and(|user| user.pending == 0 && user.stored == StoredAs::Absent)
    }

    /// Returns the users with a connection to this node.
    pub(super) fn present(&self) -> impl Iterator<Item = Present> {
        let here = self.users.values().filter(|user| user.is_here());
        here.map(|user| Present {
            member: user.member.clone(),
            connections: user.connections,
            since_ms: user.since_ms,
        })
    }

    // Connections that wait.

    /// Returns the number of the last change that connections of `user` wait for.
    pub(super) fn awaited_number(&self, user: &UserId) -> Option<u64> {
        Some(self.users.get(user)?.waiting.last()?.number)
    }

    /// Makes a connection of `user` wait for its change.
    pub(super) fn wait(&mut self, user: &UserId, connection: WaitingConnection) {
        if let Some(user) = self.users.get_mut(user) {
            user.waiting.push(connection);
        }
    }

    /// Answers a connection of `member`.
    pub(super) fn answer(
        &self,
        member: &Member,
        connection: &WaitingConnection,
        first: bool,
        deliveries: &Deliveries,
    ) {
        let members = match &self.view {
            _ if !connection.wants_members => None,
            Some(view) => view.list_with(member, &self.lists),
            None => Some(vec![member.clone()]),
        };
        deliveries.push(Item::Entered(connection.ticket, Entered { first, members }));
    }

    /// Answers the connections of `user` that wait for change `number` or an earlier one.
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
        let count = local.waiting.partition_point(|waiting| waiting.number <= number);
        let answered: Vec<WaitingConnection> = local.waiting.drain(..count).collect();
        let member = local.member.clone();
        let mut first = first;
        for waiting in answered {
            let is_first = waiting.number == number && std::mem::take(&mut first);
            self.answer(&member, &waiting, is_first, deliveries);
        }
    }

    /// Answers the connections that wait for change `number` of a user whom the store could not hold, and shows all connections
    /// of this node the user.
    pub(super) fn enter_unstored(&mut self, user: &UserId, number: u64, deliveries: &Deliveries) {
        let is_new = self.view.as_ref().is_some_and(|view| !view.contains(user));
        self.answer_waiting(user, number, is_new, deliveries);
        if let Some(local) = self.users.get(user).filter(|local| local.is_here()) {
            let member = local.member.clone();
            self.show(Presence::Joined, &member, deliveries);
        }
    }

    // The view.

    /// Announces to this node's connections that `member` has joined or left, if the view changes.
    pub(super) fn show(&mut self, change: Presence, member: &Member, deliveries: &Deliveries) {
        let Some(view) = &mut self.view else { return };
        if view.change(change, member) {
            deliveries.push(Item::Announce(change, self.name.clone(), member.clone()));
        }
    }

    /// Delivers `announcement` if it changes the view.
    pub(super) fn show_received(&mut self, announcement: ReceivedAnnouncement, deliveries: &Deliveries) {
        let ReceivedAnnouncement { mark, event, .. } = announcement;
        let view = self.view.as_mut();
        if view.is_none_or(|view| view.change_by(&mark)) {
            deliveries.push(Item::Event(event, ReplyTo::Dropped));
        }
    }

    /// Replaces the view by the store's `list` and announces the differences. Users that only `own` leases hold count as present
    /// if they have a connection to this node. Returns the announcements that waited for the list.
    pub(super) fn reconcile(
        &mut self,
        mut list: RoomMembers,
        own: &[LeaseId],
        deliveries: &Deliveries,
    ) -> Vec<ReceivedAnnouncement> {
        list.members.retain(|held| {
            self.has(&held.member.user) || held.leases.iter().any(|lease| !own.contains(lease))
        });
        let Some(view) = &mut self.view else {
            return Vec::new();
        };
        // Without both lists of members there is nothing to compare.
        let is_comparable = !list.too_many && !view.is_unlisted;
        let before = std::mem::take(&mut view.members);
        let waiting = view.install(list);
        for user in self.users.values().filter(|user| user.is_here()) {
            let shown = before.get(&user.member.user);
            view.joined(shown.map_or(&user.member, |shown| &shown.member));
        }
        if is_comparable {
            let left = before.values().map(|shown| &shown.member);
            for member in left.filter(|member| !view.contains(&member.user)) {
                deliveries.push(Item::Announce(Presence::Left, self.name.clone(), member.clone()));
            }
            for member in view.members().filter(|member| !before.contains_key(&member.user)) {
                deliveries.push(Item::Announce(
                    Presence::Joined,
                    self.name.clone(),
                    member.clone(),
                ));
            }
        }
        waiting
    }
}
