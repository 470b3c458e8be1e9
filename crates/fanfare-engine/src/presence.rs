//! Rooms: a connection enters and leaves them by the broker, which counts for all nodes.
//!
//! The broker is asked to enter, and its reply comes back in the order of deliveries, through the shard's own queue. There, in
//! one turn, the connection goes into the index and the conversation is answered: so it misses nothing that is published
//! after that, and receives nothing from before.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use fanfare_core::{
    Audience, Channel, Entered, Entry, EntryTicket, Event, Identity, Member, Outcome, Presence, Sender,
    Subscription, UserId,
};

use super::{
    Node, Shard,
    connection::{Connection, Key, Phase},
    hold::Hold,
    subscriptions::Traits,
    talk::{Turn, millis},
};

/// Bits of an [`EntryTicket`] that number the entries of one shard; the bits above are the shard's number.
const NUMBER_BITS: u32 = 56;

/// A room that a connection may be in.
pub(super) struct Joining {
    pub(super) room: Channel,
    /// What the connection subscribes to the room with; `None` if it is in the room already.
    pub(super) subscription: Option<(Option<Hold>, Traits)>,
    pub(super) wants_members: bool,
}

/// An entry that the broker has not reported yet.
pub(super) struct PendingEntry {
    key: Key,
    user: UserId,
    joining: Joining,
}

impl Joining {
    /// Whether the broker is asked. A connection that is in the room already is confirmed without it, unless it wants the list.
    pub(super) fn needs_broker(&self) -> bool {
        self.subscription.is_some() || self.wants_members
    }
}

impl Connection {
    /// Enters a room. The conversation is answered once the broker has reported it.
    pub(super) fn enter_room(&mut self, joining: Joining, identity: &Identity, turn: &Turn<'_>) {
        let shard = turn.shard;
        let Some(broker) = shard.node.broker() else { return };
        let (room, wants_members) = (joining.room.clone(), joining.wants_members);
        let pending = PendingEntry {
            key: turn.key,
            user: identity.user.clone(),
            joining,
        };
        self.asked += 1;
        broker.enter(Entry {
            room,
            member: Member::new(identity, self.admission.dialect().name),
            ticket: shard.expect_entry(pending),
            wants_members,
        });
    }

    /// Leaves each of `rooms`, now or, if the client was lost, when its time to come back is over: the connection has ended.
    pub(super) fn leave_rooms(&self, rooms: Vec<Channel>, shard: &Shard) {
        let Some(identity) = &self.identity else { return };
        let grace = self.admission.dialect().dialect.leave_grace();
        let stays = self.is_lost && !grace.is_zero() && !shard.node.is_draining();
        let until = shard.node.clock_ms().saturating_add(millis(grace));
        for room in rooms {
            if stays {
                shard.leave_later(room, &identity.user, until);
            } else {
                shard.node.leave_room(room, &identity.user);
            }
        }
    }
}

impl Shard {
    fn expect_entry(&self, pending: PendingEntry) -> EntryTicket {
        let number = self.next_entry.get();
        self.next_entry.set((number + 1) % (1 << NUMBER_BITS));
        let ticket = EntryTicket((self.number as u64) << NUMBER_BITS | number);
        self.entries.borrow_mut().insert(ticket, pending);
        ticket
    }

    /// The broker reports an entry. If its connection has ended meanwhile, the room is left again.
    pub(super) fn entered(self: &Rc<Self>, ticket: EntryTicket, entered: Entered) {
        let Some(pending) = self.entries.borrow_mut().remove(&ticket) else {
            return;
        };
        let PendingEntry {
            key,
            user,
            joining: Joining {
                room, subscription, ..
            },
        } = pending;
        // Whether the room counts one connection more than it has.
        let mut is_surplus = true;
        self.with(key, |connection, turn| {
            connection.resume(turn);
            if connection.phase != Phase::Open {
                return;
            }
            let wanted = Subscription::Channel(room.clone());
            if let Some((hold, traits)) = subscription
                && !connection.is_member(&wanted)
            {
                let traits = Traits {
                    member: true,
                    ..traits
                };
                connection.listen(wanted, hold, traits, turn.shard, turn.key);
                connection.rehear(turn.shard, turn.key);
                is_surplus = false;
            }
            let members = entered.members;
            connection.answer(Ok(Outcome::Joined { members }), turn);
        });
        if is_surplus {
            self.node.leave_room(room, &user);
        }
    }
}

impl Node {
    /// A connection of `user` leaves `room`.
    pub(super) fn leave_room(&self, room: Channel, user: &UserId) {
        if let Some(broker) = self.broker() {
            broker.leave(room, user.clone());
        }
    }

    /// Passes the broker's report to the shard that waits for it.
    pub(super) fn report_entry(&self, ticket: EntryTicket, entered: Entered) {
        let shard = usize::try_from(ticket.0 >> NUMBER_BITS).unwrap_or(usize::MAX);
        if let Some(shard) = self.shards().get(shard) {
            shard.send(super::ShardCommand::Entered(ticket, entered));
        }
    }

    /// The event that announces `member` in `room`. A dialect that panics over it leaves the change unannounced.
    pub(super) fn announce(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event> {
        let mounted = self.dialects.iter().find(|own| own.name == &*member.dialect)?;
        let announce = AssertUnwindSafe(|| mounted.dialect.announce(change, member));
        let Ok(announcement) = catch_unwind(announce) else {
            tracing::error!(
                dialect = mounted.name,
                "a fault while announcing a member of a room"
            );
            return None;
        };
        let announcement = announcement?;
        let sender = Sender {
            username: member.username.clone(),
            ..*Sender::new(&member.user)
        };
        let audience = Audience::Channel(room.clone());
        Some(Event {
            sender: Some(Box::new(sender)),
            ..Event::new(
                audience,
                Some(announcement.kind),
                announcement.data,
                std::time::SystemTime::now(),
            )
        })
    }
}
