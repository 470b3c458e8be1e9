//! Changes on their way to the store, and what becomes of them.

use fanfare_core::Presence;
use tokio::time::Instant;

use super::{Awaited, Fetched, MemberChange, State, Task};
use crate::{
    presence::{
        room::{LocalUser, StoredAs},
        slots::{SlotChange, SlotChangeKind},
    },
    transport::presence::RoomMembers,
};

impl State {
    /// The next changes in order, at most `most`; each must be finished by [`Self::applied`], [`Self::failed`] or
    /// [`Self::put_back`].
    pub(in crate::presence) fn take(&mut self, most: usize) -> Vec<Task> {
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
            let view = self.view(&change.room);
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

    /// The store has not made the changes of `tasks`, which are tried again.
    pub(in crate::presence) fn put_back(&mut self, tasks: Vec<Task>) {
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
    pub(in crate::presence) fn failed(&mut self, task: Task) {
        self.in_flight -= 1;
        match task {
            Task::Member(change) => {
                // Users that the store has lost stay marked: they must not be announced again.
                if let Some(user) = self.user(&change.room, &change.member.user)
                    && user.stored != StoredAs::Lost
                {
                    user.stored = StoredAs::Unknown;
                }
                self.judge(&change);
            }
            Task::Slot(change) => self.judge_slot(change),
        }
    }

    /// The store has changed a user's record; a transition was announced.
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
            self.applied_alone(change, transition);
            return;
        }
        if !transition || room.view.is_none() {
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

    pub(super) fn applied_alone(&mut self, change: &MemberChange, transition: bool) {
        self.awaited.remove(&change.number);
        if let Some(room) = self.rooms.get_mut(&change.room) {
            let user = &change.member.user;
            let is_joined = change.change == Presence::Joined;
            if is_joined {
                room.answer_waiting(user, change.number, transition, &self.deliveries);
            }
            // A user who has left this node alone is still in the room.
            if is_joined == room.has(user) && (is_joined || transition) {
                room.show(change.change, &change.member, &self.deliveries);
            }
            if room.users.get(user).is_some_and(LocalUser::needs_change) {
                self.mark(&change.room, user);
            }
        }
        self.tidy(&change.room, &change.member.user);
    }

    /// The store has changed the places of a slot, or `granted` none.
    pub(in crate::presence) fn applied_slot(&mut self, change: SlotChange, granted: bool) {
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
}
