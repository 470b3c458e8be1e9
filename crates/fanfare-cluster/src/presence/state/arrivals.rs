//! What arrives: announcements, and the lists by which they are filtered.

use std::{slice, time::Duration};

use fanfare_core::{Channel, Event, Presence};

use super::{Fetched, State};
use crate::{
    deliveries::{Item, ReplyTo},
    presence::view::{Arrived, View},
    wire::PresenceMark,
};

impl State {
    /// An announcement arrived; this node published it for a connection of its `own`, or not.
    pub(in crate::presence) fn arrived(
        &mut self,
        name: &Channel,
        mark: PresenceMark,
        event: Event,
        own: bool,
    ) {
        let arrived = Arrived { mark, event, own };
        let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut()) else {
            if own {
                self.awaited.remove(&arrived.mark.number);
            }
            self.deliveries.push(Item::Event(arrived.event, ReplyTo::Dropped));
            return;
        };
        if !view.is_holding() {
            self.show(name, arrived);
            return;
        }
        let number = arrived.mark.number;
        self.deliveries.reserve(slice::from_ref(&arrived.event));
        view.keep(arrived);
        if own && view.has_all_before(number) {
            self.begin_view(name);
        }
    }

    /// Shows what arrived, as far as it is news.
    pub(super) fn show(&mut self, name: &Channel, arrived: Arrived) {
        if !arrived.own && self.is_stale(name, &arrived.mark) {
            return;
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let (mark, user) = (&arrived.mark, &arrived.mark.member.user);
        let is_joined = mark.change == Presence::Joined;
        if arrived.own {
            if self.awaited.remove(&mark.number).is_some() {
                if is_joined {
                    room.answer_waiting(user, mark.number, true, &self.deliveries);
                }
            } else if is_joined != room.has(user) {
                // This node has judged alone meanwhile, and the user has left or come since.
                return;
            }
        }
        room.show_arrived(arrived, &self.deliveries);
    }

    /// Begins to filter what the connections in a room are shown, with the list that was fetched, if it came.
    pub(super) fn begin_view(&mut self, name: &Channel) {
        let Some(view) = self.view_mut(name) else { return };
        let fetched_by = view.fetched_by();
        let held = view.use_list();
        if !view.synced {
            self.unsynced.push_back(name.clone());
        }
        for arrived in held {
            self.deliveries.unreserve(slice::from_ref(&arrived.event));
            // The change that fetched the list brought one user, and the list does not name that user yet.
            let brought_list = arrived.own && fetched_by == Some(arrived.mark.number);
            if !brought_list && self.is_stale(name, &arrived.mark) {
                self.show_stale(name, arrived);
            } else {
                self.show(name, arrived);
            }
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let unanswered = room.view.as_mut().map(View::take_unanswered);
        for (user, number) in unanswered.into_iter().flatten() {
            if room.is_unstored(&user) {
                room.enter_unstored(&user, number, &self.deliveries);
            } else {
                room.answer_waiting(&user, number, false, &self.deliveries);
            }
        }
    }

    /// Whether the list of the room contains what `mark` announces.
    fn is_stale(&self, name: &Channel, mark: &PresenceMark) -> bool {
        self.view(name).is_some_and(|view| view.is_stale(mark))
    }

    /// Shows what the list contains already: connections that only listen have not seen it. Those that enter are not there yet.
    fn show_stale(&mut self, name: &Channel, arrived: Arrived) {
        let mark = &arrived.mark;
        if arrived.own
            && self.awaited.remove(&mark.number).is_some()
            && mark.change == Presence::Joined
            && let Some(room) = self.rooms.get_mut(name)
        {
            room.answer_waiting(&mark.member.user, mark.number, true, &self.deliveries);
        }
        self.deliveries.push(Item::Event(arrived.event, ReplyTo::Dropped));
    }

    /// Lists that no announcement follows. When all has arrived that was published until now, [`Self::begin`] uses them.
    pub(in crate::presence) fn take_unmarked(&mut self) -> Vec<Fetched> {
        std::mem::take(&mut self.unmarked)
    }

    /// Lists whose announcement has not arrived in time, for whatever reason.
    pub(in crate::presence) fn take_overdue(&mut self, patience: Duration) -> Vec<Fetched> {
        let is_overdue = |fetched: &Fetched| fetched.at.elapsed() >= patience;
        let count = self
            .fetched
            .iter()
            .take_while(|fetched| is_overdue(fetched))
            .count();
        self.fetched.drain(..count).collect()
    }

    /// Uses a list that was fetched, if that has not happened yet.
    pub(in crate::presence) fn begin(&mut self, fetched: &Fetched) {
        let view = self.view(&fetched.room);
        if view.is_some_and(|view| view.is_fetched_by(fetched.number)) {
            self.begin_view(&fetched.room);
        }
    }

    /// Shows what waits for a list that does not come.
    pub(super) fn give_up_list(&mut self, name: &Channel) {
        let Some(view) = self.view_mut(name) else { return };
        let held = view.use_list();
        self.unsynced.push_back(name.clone());
        self.show_held(name, held, false);
    }

    /// Shows what was held; `stale` is left out if the view was compared with the store meanwhile.
    pub(super) fn show_held(&mut self, name: &Channel, held: Vec<Arrived>, compared: bool) {
        for arrived in held {
            self.deliveries.unreserve(slice::from_ref(&arrived.event));
            if !(compared && self.is_stale(name, &arrived.mark)) {
                self.show(name, arrived);
            }
        }
    }
}
