//! Changes in flight to the store, and their results.

use fanfare_core::Presence;
use tokio::time::Instant;

use super::{AwaitedAnnouncement, FetchedList, State, Task};
use crate::{
    presence::{
        room::{LocalUser, MemberChange, StoredAs},
        slots::{SlotChange, SlotChangeKind},
        view::View,
    },
    transport::presence::RoomMembers,
};

impl State {
    /// Takes the next changes in order, at most `most`. Each must be finished by [`Self::applied`], [`Self::failed`] or
    /// [`Self::requeue`].
    pub(in crate::presence) fn take(&mut self, most: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut slots = Vec::new();
        while tasks.len() < most
            && let Some(task) = self.queue.pop_front()
        {
            if let Task::Slot(change) = &task {
                // The count is known only after the previous change of the slot.
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
            let view = self.view(&change.room);
            change.list = view.is_some_and(|view| view.is_fetched_by(change.number));
            let awaited = AwaitedAnnouncement {
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

    /// Returns `tasks` to the queue, because the store has not made their changes.
    pub(in crate::presence) fn requeue(&mut self, tasks: Vec<Task>) {
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

    /// Finishes a task that the store refused, or whose connection was lost: this node decides it.
    pub(in crate::presence) fn failed(&mut self, task: Task) {
        self.in_flight -= 1;
        match task {
            Task::Member(change) => {
                // Users that the store has lost must not be announced again.
                if let Some(user) = self.user(&change.room, &change.member.user)
                    && user.stored != StoredAs::Lost
                {
                    user.stored = StoredAs::Unknown;
                }
                self.decide(&change);
            }
            Task::Slot(change) => self.decide_slot(change),
        }
    }

    /// Finishes a change that the store has made; a `transition` was announced.
    pub(in crate::presence) fn applied(
        &mut self,
        change: &MemberChange,
        transition: bool,
        list: Option<RoomMembers>,
    ) {
        self.in_flight -= 1;
        self.counts.unlisted += u64::from(list.as_ref().is_some_and(|list| list.too_many));
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
            self.applied_while_disconnected(change, transition);
            return;
        }
        if !transition || room.view.is_none() {
            self.awaited.remove(&change.number);
        } else if let Some(awaited) = self.awaited.get_mut(&change.number) {
            awaited.confirmed = true;
        }
        let user = &change.member.user;
        if room.view.as_ref().is_some_and(View::is_waiting_for_list) {
            self.set_list(change, transition, list);
        } else if change.change == Presence::Joined {
            room.answer_waiting(user, change.number, transition, &self.deliveries);
        }
        self.remove_if_idle(&change.room, user);
    }

    /// Keeps the list that `change` has fetched, if any, until it can be applied. A connection that entered without a transition is
    /// answered then.
    pub(super) fn set_list(&mut self, change: &MemberChange, transition: bool, list: Option<RoomMembers>) {
        let (number, user) = (change.number, &change.member.user);
        let Some(view) = self.view_mut(&change.room) else {
            return;
        };
        if change.change == Presence::Joined && !transition {
            view.unanswered.push((user.clone(), number));
        }
        let Some(list) = list.filter(|_| view.is_fetched_by(number)) else {
            return;
        };
        view.set_list(list, transition.then_some(user));
        let is_in_order = view.is_list_in_order(number);
        let fetched = FetchedList {
            room: change.room.clone(),
            number,
            at: Instant::now(),
        };
        if is_in_order {
            self.activate_view(&change.room);
        } else if transition {
            self.fetched.push_back(fetched);
        } else {
            self.unannounced.push(fetched);
        }
    }

    fn applied_while_disconnected(&mut self, change: &MemberChange, transition: bool) {
        self.awaited.remove(&change.number);
        if let Some(room) = self.rooms.get_mut(&change.room) {
            let user = &change.member.user;
            let is_joined = change.change == Presence::Joined;
            if is_joined {
                room.answer_waiting(user, change.number, transition, &self.deliveries);
            }
            // A user whose last connection to this node left may still be in the room by another node.
            if is_joined == room.has(user) && (is_joined || transition) {
                room.show(change.change, &change.member, &self.deliveries);
            }
            if room.users.get(user).is_some_and(LocalUser::needs_change) {
                self.mark(&change.room, user);
            }
        }
        self.remove_if_idle(&change.room, &change.member.user);
    }

    /// Finishes a change of a slot that the store has `granted` or refused.
    pub(in crate::presence) fn applied_slot(&mut self, change: SlotChange, granted: bool) {
        self.in_flight -= 1;
        let SlotChange { slot, kind } = change;
        if let SlotChangeKind::Acquire(_, done) = kind {
            if granted {
                self.slots.add(&slot);
            }
            if done.send(granted).is_err() && granted {
                // The connection has ended.
                self.release(slot.clone());
            }
        }
        self.slots.stored(&slot);
        self.slots.done(&slot);
    }
}
