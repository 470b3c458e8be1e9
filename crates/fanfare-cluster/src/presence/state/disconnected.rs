//! Decisions without the store, and the marks of the changes that it must receive later.

use std::collections::BTreeMap;

use fanfare_core::{Channel, Presence, UserId};

use super::{COMPACT_FROM, State, Task};
use crate::presence::{
    room::{LocalUser, MemberChange, Room},
    slots::{SlotChange, SlotChangeKind},
    view::View,
};

impl State {
    /// Makes this node decide without the store from now on.
    pub(in crate::presence) fn disconnect(&mut self) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        let is_waiting = |room: &Room| room.view.as_ref().is_some_and(View::is_waiting_for_list);
        let waiting = self.rooms.iter().filter(|(_, room)| is_waiting(room));
        let waiting: Vec<Channel> = waiting.map(|(name, _)| name.clone()).collect();
        for name in waiting {
            self.activate_view(&name);
        }
        // The announcements of confirmed changes may be lost with the connection.
        let awaited = std::mem::take(&mut self.awaited).into_iter();
        let (confirmed, others): (BTreeMap<_, _>, _) = awaited.partition(|(_, awaited)| awaited.confirmed);
        self.awaited = others;
        for (number, awaited) in confirmed {
            let Some(room) = self.rooms.get_mut(&awaited.room) else {
                continue;
            };
            let user = &awaited.member.user;
            let is_joined = awaited.change == Presence::Joined;
            if is_joined {
                room.answer_waiting(user, number, true, &self.deliveries);
            }
            if is_joined == room.has(user) {
                room.show(awaited.change, &awaited.member, &self.deliveries);
            }
        }
        for task in std::mem::take(&mut self.queue) {
            match task {
                Task::Member(change) => self.decide(&change),
                Task::Slot(change) => self.decide_slot(change),
            }
        }
    }

    /// Decides `change` by this node's own counts, and marks it for the store.
    pub(super) fn decide(&mut self, change: &MemberChange) {
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
        self.remove_if_idle(&change.room, user);
    }

    /// Grants `change` without the store, and marks its slot for the store.
    pub(super) fn decide_slot(&mut self, change: SlotChange) {
        let SlotChange { slot, kind } = change;
        if let SlotChangeKind::Acquire(_, done) = kind
            && done.send(true).is_ok()
        {
            self.slots.add(&slot);
        }
        self.slots.mark(&slot);
        self.slots.done(&slot);
    }

    /// Marks `user` in `name`: the store must receive a change when it is available again.
    pub(super) fn mark(&mut self, name: &Channel, user: &UserId) {
        let Some(local) = self.user(name, user) else {
            return;
        };
        if !std::mem::replace(&mut local.dirty, true) {
            self.dirty.push_back((name.clone(), user.clone()));
            self.compact();
        }
    }

    /// Marks every user for whom `must` returns `true`.
    pub(super) fn mark_where(&mut self, mut must: impl FnMut(&mut LocalUser) -> bool) {
        let mut marked = Vec::new();
        for (name, room) in &mut self.rooms {
            let users = room
                .users
                .iter_mut()
                .filter_map(|(id, user)| must(user).then_some(id));
            marked.extend(users.map(|id| (name.clone(), id.clone())));
        }
        for (name, user) in marked {
            self.mark(&name, &user);
        }
    }

    /// Removes the marks of users whose record in the store is right: those who entered and left while it was unavailable.
    pub(super) fn compact(&mut self) {
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
            self.remove_if_idle(&name, &user);
        }
        self.compact_at = COMPACT_FROM.max(2 * self.dirty.len());
    }

    /// Notes that the view of `name` may differ from the store.
    pub(super) fn unsync(&mut self, name: &Channel) {
        if let Some(view) = self.view_mut(name)
            && std::mem::take(&mut view.synced)
        {
            self.unsynced.push_back(name.clone());
        }
    }

    /// Notes that every view may differ from the store.
    pub(super) fn unsync_all(&mut self) {
        let names: Vec<Channel> = self.rooms.keys().cloned().collect();
        for name in names {
            self.unsync(&name);
        }
    }
}
