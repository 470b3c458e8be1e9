//! From judging alone back to counting with the others.

use fanfare_core::{Channel, Presence};

use super::{MemberChange, State, Task};
use crate::{
    presence::{room::StoredAs, view::View},
    transport::presence::{LeaseId, RoomMembers},
};

impl State {
    /// The receiving connection is there, with all subscriptions, or was lost.
    pub(in crate::presence) fn set_receiving(&mut self, receiving: bool) {
        self.receiving = receiving;
        if !receiving {
            self.disconnect();
            self.unsync_all();
        }
    }

    /// The lease is gone. What it held was `cleaned`, or the store has lost it.
    pub(in crate::presence) fn lease_gone(&mut self, cleaned: bool) {
        self.disconnect();
        self.unsync_all();
        self.mark_where(|user| {
            if user.stored != StoredAs::Absent {
                user.stored = if cleaned { StoredAs::Absent } else { StoredAs::Lost };
            }
            user.needs_change()
        });
        self.slots.lost();
    }

    /// The next marked changes, at most `most`. Each must be finished as those of [`Self::take`].
    pub(in crate::presence) fn take_marked(&mut self, most: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        while tasks.len() < most
            && let Some((name, user)) = self.dirty.pop_front()
        {
            let number = self.number();
            let Some(local) = self.user(&name, &user) else {
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
    pub(in crate::presence) fn is_caught_up(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && self.dirty.is_empty() && !self.slots.has_dirty()
    }

    pub(in crate::presence) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Rooms whose members must be compared with the store, at most `most`. What arrives there waits for
    /// [`Self::compared`].
    pub(in crate::presence) fn take_unsynced(&mut self, most: usize) -> Vec<Channel> {
        let mut names = Vec::new();
        while self.receiving
            && names.len() < most
            && let Some(name) = self.unsynced.pop_front()
        {
            if let Some(view) = self.view_mut(&name)
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
    pub(in crate::presence) fn compared(
        &mut self,
        name: &Channel,
        list: Option<RoomMembers>,
        own: &[LeaseId],
    ) {
        self.counts.unlisted += u64::from(list.as_ref().is_some_and(|list| list.too_many));
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
    pub(in crate::presence) fn connect(&mut self) -> bool {
        self.connected = self.connected
            || self.receiving && self.is_caught_up() && self.unsynced.is_empty() && self.closing.is_none();
        self.connected
    }

    /// This node ends: everything that it holds is marked for release.
    pub(in crate::presence) fn release_all(&mut self) {
        self.disconnect();
        for room in self.rooms.values_mut() {
            room.occupants = 0;
        }
        self.mark_where(|user| {
            user.connections = 0;
            true
        });
        self.slots.release_all();
    }
}
