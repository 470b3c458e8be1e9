//! Presence as one node counts it: connections enter and leave, and the rooms' announcements are published in order.

use std::sync::Arc;

use fanfare_core::{Channel, Entered, Entry, EntryTicket, Event, Inbound, Member, Presence, UserId};

use crate::{in_order::InOrder, list_limit::ListLimit, local, local_rooms::LocalRooms};

/// Rooms and their members on this node.
pub(crate) struct LocalPresence {
    inbound: Arc<dyn Inbound>,
    publish: Box<dyn Fn(Event) + Send + Sync>,
    pub(crate) rooms: LocalRooms,
    pub(crate) lists: ListLimit,
    changes: InOrder<LocalChange>,
}

/// What follows from a connection that entered or left.
enum LocalChange {
    Entered(EntryTicket, Entered),
    Announced(Presence, Channel, Member),
}

impl LocalPresence {
    /// Nobody is in a room yet. `publish` publishes an announcement, in the order of calls.
    pub(crate) fn new(
        inbound: Arc<dyn Inbound>,
        max_listed_members: usize,
        publish: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inbound,
            publish: Box::new(publish),
            rooms: LocalRooms::default(),
            lists: ListLimit::new(max_listed_members),
            changes: InOrder::default(),
        }
    }

    /// See [`fanfare_core::Broker::enter`].
    pub(crate) fn enter(&self, entry: &Entry) {
        let Entry {
            room,
            member,
            ticket,
            wants_members,
        } = entry;
        let lists = wants_members.then_some(&self.lists);
        self.rooms.enter(room, member, lists, |first, members| {
            let entered = Entered { first, members };
            self.changes.put(LocalChange::Entered(*ticket, entered));
            if first {
                let joined = LocalChange::Announced(Presence::Joined, room.clone(), member.clone());
                self.changes.put(joined);
            }
        });
        self.carry_out();
    }

    /// See [`fanfare_core::Broker::leave`].
    pub(crate) fn leave(&self, room: &Channel, user: &UserId) {
        self.rooms.leave(room, user, |member| {
            let left = LocalChange::Announced(Presence::Left, room.clone(), member);
            self.changes.put(left);
        });
        self.carry_out();
    }

    /// Tells the node what follows, in order, and with no lock held: the dialects' code runs here.
    fn carry_out(&self) {
        self.changes.run(|change| match change {
            LocalChange::Entered(ticket, entered) => local::entered(&*self.inbound, ticket, entered),
            LocalChange::Announced(change, room, member) => {
                if let Some(event) = local::announcement(&*self.inbound, change, &room, &member) {
                    (self.publish)(event);
                }
            }
        });
    }
}
