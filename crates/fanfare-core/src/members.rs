//! Who is in which room on this node.

use ahash::AHashMap;

use crate::{
    Channel, RawJson, UserId,
    memory::give_back,
    striped::{Striped, forget},
};

/// Counts, per room and user, the connections that are in the room, so that a user comes in with its first and leaves
/// with its last, however many it has.
///
/// A change may have to be published in the room, in the order of the changes. Therefore a caller hands in `place`, which
/// puts a ready event on its way and does nothing else: it runs under the room's lock, and a call of [`Members`] within it
/// would wait for itself.
///
/// It counts one node's connections. A count over all nodes takes its place behind these same functions: whoever calls
/// them asks only whether somebody has come, has left, or is there.
#[derive(Debug, Default)]
pub struct Members {
    rooms: Striped<Channel, AHashMap<UserId, u32>>,
}

impl Members {
    /// A connection of `user` joins `room`. Returns whether it is the user's first there, for which `place` has run.
    pub fn join(&self, room: &Channel, user: &UserId, place: impl FnOnce()) -> bool {
        let mut stripe = self.rooms.lock(room);
        let members = stripe.entry(room.clone()).or_default();
        let connections = members.entry(user.clone()).or_default();
        *connections += 1;
        let first = *connections == 1;
        if first {
            place();
        }
        first
    }

    /// A connection of `user` leaves `room`. Returns whether it was the user's last there, for which `place` has run. A
    /// connection that was not in the room is no last one.
    pub fn leave(&self, room: &Channel, user: &UserId, place: impl FnOnce()) -> bool {
        let mut stripe = self.rooms.lock(room);
        let last = Self::take(&mut stripe, room, user);
        if last {
            place();
        }
        last
    }

    fn take(stripe: &mut AHashMap<Channel, AHashMap<UserId, u32>>, room: &Channel, user: &UserId) -> bool {
        let Some(members) = stripe.get_mut(&**room) else {
            return false;
        };
        let Some(connections) = members.get_mut(&**user) else {
            return false;
        };
        *connections -= 1;
        if *connections > 0 {
            return false;
        }
        members.remove(&**user);
        give_back(members);
        if members.is_empty() {
            forget(stripe, room);
        }
        true
    }

    /// The users in `room`, in no order. Copies the list.
    pub fn members(&self, room: &Channel) -> Vec<UserId> {
        let stripe = self.rooms.lock(room);
        let members = stripe.get(&**room);
        members.map_or_else(Vec::new, |members| members.keys().cloned().collect())
    }

    /// How many rooms have somebody in them.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }
}

/// How a user's presence in a room changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// With the user's first connection there.
    Joined,
    /// With the user's last connection there.
    Left,
}

/// What the server publishes in a room about one of its users.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The event's type.
    pub kind: &'static str,
    /// The event's data.
    pub data: RawJson,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_placed_before_the_next_one_happens() {
        let room = Channel::new("project:1").expect("a name");
        let user = UserId::new("alice").expect("a name");
        let members = Members::default();
        let placed = std::sync::Mutex::new(Vec::new());
        let place = |word| placed.lock().expect("no panic").push(word);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        members.join(&room, &user, || place("joined"));
                        members.leave(&room, &user, || place("left"));
                    }
                });
            }
        });
        let placed = placed.into_inner().expect("no panic");
        assert!(placed.len() >= 2);
        assert!(placed.chunks(2).all(|pair| pair == ["joined", "left"]));
    }

    #[test]
    fn users_come_with_their_first_connection_and_leave_with_their_last() {
        let room = |name| Channel::new(name).expect("a name");
        let user = |name| UserId::new(name).expect("a name");
        let (project, task) = (room("project:1"), room("task:1"));
        let (alice, bob) = (user("alice"), user("bob"));
        let members = Members::default();
        for (room, user, is_first) in [
            (&project, &alice, true),
            (&project, &alice, false),
            (&task, &alice, true),
            (&project, &bob, true),
        ] {
            assert_eq!(members.join(room, user, || ()), is_first, "{user} joins {room}");
        }
        let mut there = members.members(&project);
        there.sort_unstable();
        assert_eq!((there, members.rooms()), (vec![alice.clone(), bob.clone()], 2));
        for (room, user, was_last) in [
            (&project, &alice, false),
            (&project, &alice, true),
            (&project, &alice, false), // was not there
            (&task, &bob, false),      // neither
            (&project, &bob, true),
            (&project, &bob, false),
        ] {
            assert_eq!(members.leave(room, user, || ()), was_last, "{user} leaves {room}");
        }
        assert!(members.members(&project).is_empty());
        assert_eq!((members.members(&task), members.rooms()), (vec![alice], 1));
    }

    #[test]
    fn shards_agree_on_who_was_first_and_last() {
        let room = Channel::new("project:1").expect("a name");
        let user = UserId::new("alice").expect("a name");
        let members = Members::default();
        let of_all_shards = |turn: fn(&Members, &Channel, &UserId) -> bool| {
            std::thread::scope(|scope| {
                let shard = || (0..1_000).filter(|_| turn(&members, &room, &user)).count();
                let shards: Vec<_> = (0..4).map(|_| scope.spawn(shard)).collect();
                let counts = shards.into_iter().map(|shard| shard.join().expect("no panic"));
                counts.sum::<usize>()
            })
        };
        assert_eq!(
            of_all_shards(|members, room, user| members.join(room, user, || ())),
            1
        );
        assert_eq!(
            of_all_shards(|members, room, user| members.leave(room, user, || ())),
            1
        );
        assert_eq!(members.rooms(), 0);
    }
}
