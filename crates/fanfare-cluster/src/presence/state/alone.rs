//! What this node decides without the store, and remembers for later.

use std::collections::BTreeMap;

use fanfare_core::{Channel, Presence, UserId};

use super::{Awaited, COMPACT_FROM, MemberChange, State, Task};
use crate::presence::{
    room::LocalUser,
    slots::{SlotChange, SlotChangeKind},
    view::View,
};

impl State {
    /// This node judges alone from now on.
    pub(in crate::presence) fn disconnect(&mut self) {
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
        let awaited = std::mem::take(&mut self.awaited).into_iter();
        let (confirmed, others) = awaited.partition(|(_, awaited)| awaited.confirmed);
        self.awaited = others;
        let confirmed: BTreeMap<u64, Awaited> = confirmed;
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
                Task::Member(change) => self.judge(&change),
                Task::Slot(change) => self.judge_slot(change),
            }
        }
    }

    /// Decides by what this node knows itself what becomes of `change`, and marks it for later.
    pub(super) fn judge(&mut self, change: &MemberChange) {
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

    pub(super) fn judge_slot(&mut self, change: SlotChange) {
        let SlotChange { slot, kind } = change;
        if let SlotChangeKind::Acquire(_, done) = kind
            && done.send(true).is_ok()
        {
            self.slots.take(&slot);
        }
        self.slots.mark(&slot);
        self.slots.done(&slot);
    }

    /// Marks `user` in `name` for the store, which gets the change when it is there again.
    pub(super) fn mark(&mut self, name: &Channel, user: &UserId) {
        let Some(local) = self.user(name, user) else {
            return;
        };
        if !std::mem::replace(&mut local.dirty, true) {
            self.dirty.push_back((name.clone(), user.clone()));
            self.compact();
        }
    }

    /// Marks every user of this node whose change the store `must` receive.
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

    /// Forgets the marked users about whom the store knows what it should: those who came and left while it was away.
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
            self.tidy(&name, &user);
        }
        self.compact_at = COMPACT_FROM.max(2 * self.dirty.len());
    }

    /// The view of `name` may differ from the store.
    pub(super) fn unsync(&mut self, name: &Channel) {
        if let Some(view) = self.view_mut(name)
            && std::mem::take(&mut view.synced)
        {
            self.unsynced.push_back(name.clone());
        }
    }

    /// Every view may differ from the store.
    pub(super) fn unsync_all(&mut self) {
        let names: Vec<Channel> = self.rooms.keys().cloned().collect();
        for name in names {
            self.unsync(&name);
        }
    }
}
