//! Announcements that arrive, and the lists by which they are filtered.

use std::{slice, time::Duration};

use fanfare_core::{Channel, Event, Presence};

use super::{FetchedList, State};
use crate::{
    deliveries::{Item, ReplyTo},
    presence::view::ReceivedAnnouncement,
    wire::PresenceMark,
};

impl State {
    /// Receives an announcement; `own` if this node published it for one of its connections.
    pub(in crate::presence) fn receive(
        &mut self,
        name: &Channel,
        mark: PresenceMark,
        event: Event,
        own: bool,
    ) {
        let announcement = ReceivedAnnouncement { mark, event, own };
        let number = announcement.mark.number;
        let Some(view) = self.rooms.get_mut(name).and_then(|room| room.view.as_mut()) else {
            if own {
                self.awaited.remove(&number);
            }
            self.deliveries
                .push(Item::Event(announcement.event, ReplyTo::Dropped));
            return;
        };
        if !view.is_waiting_for_list() {
            self.show(name, announcement);
            return;
        }
        self.deliveries.reserve(slice::from_ref(&announcement.event));
        view.push_waiting(announcement);
        if own && view.is_list_in_order(number) {
            self.activate_view(name);
        }
    }

    /// Delivers `announcement` if it changes the view, and answers the connections that wait for it.
    pub(super) fn show(&mut self, name: &Channel, announcement: ReceivedAnnouncement) {
        if !announcement.own && self.is_stale(name, &announcement.mark) {
            return;
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let (mark, user) = (&announcement.mark, &announcement.mark.member.user);
        let is_joined = mark.change == Presence::Joined;
        if announcement.own {
            if self.awaited.remove(&mark.number).is_some() {
                if is_joined {
                    room.answer_waiting(user, mark.number, true, &self.deliveries);
                }
            } else if is_joined != room.has(user) {
                // This node was disconnected meanwhile, and the user has left or entered since.
                return;
            }
        }
        room.show_received(announcement, &self.deliveries);
    }

    /// Begins to filter the announcements of a room, by the fetched list if it has arrived.
    pub(super) fn activate_view(&mut self, name: &Channel) {
        let Some(view) = self.view_mut(name) else { return };
        let fetched_by = view.fetched_by;
        let waiting = view.apply_list();
        if !view.synced {
            self.unsynced.push_back(name.clone());
        }
        for announcement in waiting {
            self.deliveries.unreserve(slice::from_ref(&announcement.event));
            // The list leaves out the user of the change that fetched it.
            let has_fetched = announcement.own && fetched_by == Some(announcement.mark.number);
            if !has_fetched && self.is_stale(name, &announcement.mark) {
                self.show_stale(name, announcement);
            } else {
                self.show(name, announcement);
            }
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let unanswered = room
            .view
            .as_mut()
            .map(|view| std::mem::take(&mut view.unanswered));
        for (user, number) in unanswered.into_iter().flatten() {
            if room.is_unstored(&user) {
                room.enter_unstored(&user, number, &self.deliveries);
            } else {
                room.answer_waiting(&user, number, false, &self.deliveries);
            }
        }
    }

    /// Returns whether the room's list contains the transition of `mark`.
    fn is_stale(&self, name: &Channel, mark: &PresenceMark) -> bool {
        self.view(name).is_some_and(|view| view.is_stale(mark))
    }

    /// Delivers an announcement that the list contains, for the connections that only listen. Those that enter have not been
    /// answered yet, so they do not receive it twice.
    fn show_stale(&mut self, name: &Channel, announcement: ReceivedAnnouncement) {
        let mark = &announcement.mark;
        if announcement.own
            && self.awaited.remove(&mark.number).is_some()
            && mark.change == Presence::Joined
            && let Some(room) = self.rooms.get_mut(name)
        {
            room.answer_waiting(&mark.member.user, mark.number, true, &self.deliveries);
        }
        self.deliveries
            .push(Item::Event(announcement.event, ReplyTo::Dropped));
    }

    /// Takes the lists that were fetched without an announcement. The caller passes them to [`Self::activate_list`] when everything
    /// has arrived that was published until now.
    pub(in crate::presence) fn take_unannounced(&mut self) -> Vec<FetchedList> {
        std::mem::take(&mut self.unannounced)
    }

    /// Takes the lists whose announcement has not arrived within `patience`.
    pub(in crate::presence) fn take_overdue(&mut self, patience: Duration) -> Vec<FetchedList> {
        let is_overdue = |fetched: &FetchedList| fetched.at.elapsed() >= patience;
        let count = self
            .fetched
            .iter()
            .take_while(|fetched| is_overdue(fetched))
            .count();
        self.fetched.drain(..count).collect()
    }

    /// Applies a fetched list, unless it was applied before.
    pub(in crate::presence) fn activate_list(&mut self, fetched: &FetchedList) {
        let view = self.view(&fetched.room);
        if view.is_some_and(|view| view.is_fetched_by(fetched.number)) {
            self.activate_view(&fetched.room);
        }
    }

    /// Shows the announcements that wait for a list that could not be read.
    pub(super) fn abandon_list(&mut self, name: &Channel) {
        let Some(view) = self.view_mut(name) else { return };
        let waiting = view.apply_list();
        self.unsynced.push_back(name.clone());
        self.show_waiting(name, waiting, false);
    }

    /// Shows the announcements that waited for a list. If the view was `reconciled` with it, stale ones are left out.
    pub(super) fn show_waiting(
        &mut self,
        name: &Channel,
        waiting: Vec<ReceivedAnnouncement>,
        reconciled: bool,
    ) {
        for announcement in waiting {
            self.deliveries.unreserve(slice::from_ref(&announcement.event));
            if !(reconciled && self.is_stale(name, &announcement.mark)) {
                self.show(name, announcement);
            }
        }
    }
}
