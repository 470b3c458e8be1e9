//! The way back to being connected: marked changes are sent, and views are reconciled with the store.

use fanfare_core::Channel;

use super::{State, Task};
use crate::{
    presence::{
        room::{MemberChange, StoredAs},
        view::View,
    },
    transport::presence::{LeaseId, RoomMembers},
};

impl State {
    /// Notes whether the receiving connection is open, with all subscriptions in force.
    pub(in crate::presence) fn set_receiving(&mut self, receiving: bool) {
        self.receiving = receiving;
        if !receiving {
            self.disconnect();
            self.unsync_all();
        }
    }

    /// Marks all users and slots, because the lease is gone. Another node has `cleaned` it, or the store has lost it.
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

    /// Takes the next marked changes, at most `most`. Each must be finished like those of [`Self::take`].
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
                // The result of the pending change marks it again if necessary.
                continue;
            }
            if !local.needs_change() {
                self.remove_if_idle(&name, &user);
                continue;
            }
            tasks.push(Task::Member(MemberChange {
                announced: !local.is_here() || local.stored != StoredAs::Lost,
                was_held: matches!(local.stored, StoredAs::Held | StoredAs::Lost),
                ..local.begin_change(number, &name)
            }));
        }
        let slots = self.slots.reports(most - tasks.len());
        tasks.extend(slots.into_iter().map(Task::Slot));
        self.in_flight += tasks.len();
        tasks
    }

    /// Returns whether no change for the store is queued, marked or in flight.
    pub(in crate::presence) fn is_caught_up(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && self.dirty.is_empty() && !self.slots.has_dirty()
    }

    pub(in crate::presence) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes at most `most` rooms whose views must be reconciled with the store. Their announcements wait until
    /// [`Self::reconcile`].
    pub(in crate::presence) fn take_unsynced(&mut self, most: usize) -> Vec<Channel> {
        let mut names = Vec::new();
        while self.receiving
            && names.len() < most
            && let Some(name) = self.unsynced.pop_front()
        {
            if let Some(view) = self.view_mut(&name)
                && !view.synced
                && !view.is_waiting_for_list()
            {
                view.wait_for_list();
                names.push(name);
            }
        }
        names
    }

    /// Reconciles a view with the store's `list`; `None` if the store returned none.
    pub(in crate::presence) fn reconcile(
        &mut self,
        name: &Channel,
        list: Option<RoomMembers>,
        own: &[LeaseId],
    ) {
        self.counts.unlisted += u64::from(list.as_ref().is_some_and(|list| list.too_many));
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if !room.view.as_ref().is_some_and(View::is_waiting_for_list) {
            // The room's last connection has left meanwhile, and the view is a later one than the list.
            return;
        }
        if let Some(list) = list.filter(|_| self.receiving) {
            let waiting = room.reconcile(list, own, &self.deliveries);
            self.show_waiting(name, waiting, true);
        } else {
            self.abandon_list(name);
        }
    }

    /// Becomes connected if the node has caught up. Returns whether it is connected.
    pub(in crate::presence) fn connect(&mut self) -> bool {
        self.connected = self.connected
            || self.receiving && self.is_caught_up() && self.unsynced.is_empty() && self.closing.is_none();
        self.connected
    }

    /// Removes all connections of this node, and marks their users and slots.
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
