//! Changes that the store has no room for: this node's connections are shown them, and they are retried later.

use fanfare_core::{Channel, Presence, UserId};

use super::State;
use crate::{
    presence::{
        room::{LocalUser, MemberChange},
        view::View,
    },
    transport::presence::RoomMembers,
};

impl State {
    /// Finishes a change that the store had no room for. Its records are unchanged.
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
        } else if room.view.as_ref().is_some_and(View::is_waiting_for_list) {
            self.set_list(change, false, list);
        } else {
            room.enter_unstored(user, change.number, &self.deliveries);
        }
        self.unstored.insert((change.room.clone(), user.clone()));
        self.remove_if_idle(&change.room, user);
    }

    /// Returns whether the store has released all records of this node.
    pub(in crate::presence) fn is_released(&self) -> bool {
        let user = |(name, user): &(Channel, UserId)| self.rooms.get(name)?.users.get(user);
        let mut unstored = self.unstored.iter().filter_map(user);
        self.is_caught_up() && !unstored.any(LocalUser::needs_change)
    }

    /// Queues the changes again that the store had no room for, unless they are no longer needed.
    pub(in crate::presence) fn retry_unstored(&mut self) {
        for (name, user) in std::mem::take(&mut self.unstored) {
            let local = self.user(&name, &user);
            if !local.is_some_and(|local| local.pending == 0 && local.needs_change()) {
                continue;
            }
            if self.connected {
                let number = self.number();
                self.queue_change(number, &name, &user);
            } else {
                self.mark(&name, &user);
            }
        }
    }
}
