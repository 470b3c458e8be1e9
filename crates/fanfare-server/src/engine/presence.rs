//! Who comes into a room and who leaves it, and what the room is told of that.
//!
//! The dialect's words are made before a room's lock is taken, the event is placed at the broker under it, and the
//! conversation is answered after it: rooms learn of changes in their order, and a conversation may ask for anything.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fanfare_core::{Audience, Channel, Draft, Event, Identity, Joined, Presence, Right, Subscription};

use super::{Shard, connection::Connection, hold::Hold, subscriptions::Traits, talk::Turn};

impl Connection {
    /// Is in `room` from now on.
    pub(super) fn enter_room(
        &mut self,
        room: &Channel,
        user: &Identity,
        hold: Option<Hold>,
        traits: Traits,
        turn: &Turn<'_>,
    ) -> Joined {
        let announcement = self.announcement(Presence::Joined, room, user);
        let (wanted, traits) = (
            Subscription::Channel(room.clone()),
            Traits {
                member: true,
                ..traits
            },
        );
        self.listen(wanted, hold, traits, turn.shard, turn.key);
        self.rehear(turn.shard, turn.key);
        let place = || place(announcement, turn.shard);
        if turn.shard.node.members.join(room, &user.user, place) {
            Joined::First
        } else {
            Joined::Another
        }
    }

    /// Is not in `room` any more, of which it no longer hears. Returns whether it was its user's last connection there.
    pub(super) fn leave_room(&self, room: &Channel, user: &Identity, shard: &Shard) -> bool {
        let announcement = self.announcement(Presence::Left, room, user);
        let place = || place(announcement, shard);
        shard.node.members.leave(room, &user.user, place)
    }

    /// Is in none of `rooms` any more: the connection is over.
    pub(super) fn leave_rooms(&self, rooms: &[Channel], shard: &Shard) {
        let Some(user) = self.identity.clone() else { return };
        for room in rooms {
            self.leave_room(room, &user, shard);
        }
    }

    /// What `room` is told. A dialect that fails over it leaves the room untold, and the counts right.
    fn announcement(&self, change: Presence, room: &Channel, user: &Identity) -> Option<Event> {
        let dialect = &self.admission.dialect().dialect;
        let Ok(said) = catch_unwind(AssertUnwindSafe(|| dialect.announce(change, user))) else {
            tracing::error!(
                connection = self.number,
                "a fault while announcing who is in a room"
            );
            return None;
        };
        let said = said?;
        Some(self.event(Draft {
            to: Audience::Channel(room.clone()),
            kind: Some(said.kind.into()),
            data: said.data,
            metadata: None,
            right: Right::Rules,
        }))
    }
}

/// Puts `announcement` on its way; nobody waits for what becomes of it.
fn place(announcement: Option<Event>, shard: &Shard) {
    if let Some(event) = announcement {
        drop(shard.publisher.publish_now(event));
    }
}
