//! Changes that the store has no room for: this node's own connections are shown them, and they are tried again later.

use fanfare_core::{Presence, UserId};
use tokio::time::Instant;

use super::{Fetched, MemberChange, State};
use crate::{
    deliveries::Deliveries,
    presence::room::{LocalUser, Room},
    transport::presence::RoomMembers,
};

impl State {
    /// The store had no room for `change`. What it holds is as before.
    pub(in crate::presence) fn unstored(&mut self, change: &MemberChange, list: Option<RoomMembers>) {
        self.in_flight -= 1;
        self.awaited.remove(&change.number);
        let Some(room) = self.rooms.get_mut(&change.room) else {
            return;
        };
        let user = &change.member.user;
        if let Some(local) = room.users.get_mut(user) {
            local.pending -= 1;
        }
        if change.change == Presence::Left {
            if !room.has(user) {
                room.show(Presence::Left, &change.member, &self.deliveries);
            }
        } else if let Some(view) = room.view.as_mut().filter(|view| view.is_holding()) {
            view.answer_later(user, change.number);
            if let Some(list) = list.filter(|_| view.is_fetched_by(change.number)) {
                view.set_list(list, None);
                self.unmarked.push(Fetched {
                    room: change.room.clone(),
                    number: change.number,
                    at: Instant::now(),
                });
            }
        } else {
            room.enter_unstored(user, change.number, &self.deliveries);
        }
        self.unstored.insert((change.room.clone(), user.clone()));
        self.tidy(&change.room, user);
    }

    /// Whether the store holds nothing of this node any more.
    pub(in crate::presence) fn is_released(&self) -> bool {
        let user = |(name, user)| self.rooms.get(name)?.users.get(user);
        let mut unstored = self.unstored.iter().map(|(name, user)| (name, user));
        self.is_caught_up() && !unstored.any(|at| user(at).is_some_and(LocalUser::needs_change))
    }

    /// The changes that the store had no room for are tried again, as far as they are still wanted.
    pub(in crate::presence) fn retry_unstored(&mut self) {
        for (name, user) in std::mem::take(&mut self.unstored) {
            let local = self.rooms.get(&name).and_then(|room| room.users.get(&user));
            let Some(local) = local.filter(|local| local.pending == 0 && local.needs_change()) else {
                continue;
            };
            if self.connected {
                let (member, is_here) = (local.member.clone(), local.connections > 0);
                let number = self.number();
                let change = if is_here { Presence::Joined } else { Presence::Left };
                self.queue_change(number, &name, &member, change);
            } else {
                self.mark(&name, &user);
            }
        }
    }
}

impl Room {
    /// This node's connections see a user enter whom the store could not take: the connections that wait for change `number` are
    /// answered, and all are shown the user.
    pub(super) fn enter_unstored(&mut self, user: &UserId, number: u64, deliveries: &Deliveries) {
        let is_new = self.view.as_ref().is_some_and(|view| !view.contains(user));
        self.answer_waiting(user, number, is_new, deliveries);
        if self.has(user)
            && let Some(member) = self.users.get(user).map(|local: &LocalUser| local.member.clone())
        {
            self.show(Presence::Joined, &member, deliveries);
        }
    }
}
