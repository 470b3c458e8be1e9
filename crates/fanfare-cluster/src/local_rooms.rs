//! Who is in which room on this node.

use std::time::SystemTime;

use ahash::AHashMap;
use fanfare_core::{Channel, Member, Present, Striped, UserId, forget, shrink_if_sparse, unix_millis};

use crate::list_limit::ListLimit;

/// Counts, per room and user, the connections that are in the room: a user joins with the first of them and leaves with the
/// last, however many there are.
///
/// Changes of one room must be announced in their order. A caller therefore passes `place`, which puts the change in a queue
/// and does nothing else: it runs under the room's lock, and a call of [`LocalRooms`] within it would deadlock.
#[derive(Debug, Default)]
pub(crate) struct LocalRooms {
    rooms: Striped<Channel, AHashMap<UserId, Present>>,
}

impl LocalRooms {
    /// A connection of `member` enters `room`. Calls `place` with whether it is the user's first there, and with the room's
    /// members as far as `lists` allows it; `None` if they are not wanted.
    pub(crate) fn enter(
        &self,
        room: &Channel,
        member: &Member,
        lists: Option<&ListLimit>,
        place: impl FnOnce(bool, Option<Vec<Member>>),
    ) {
        let mut stripe = self.rooms.lock(room);
        let users = stripe.entry(room.clone()).or_default();
        let present = users.entry(member.user.clone()).or_insert_with(|| Present {
            member: member.clone(),
            connections: 0,
            since_ms: unix_millis(SystemTime::now()),
        });
        present.connections += 1;
        let is_first = present.connections == 1;
        let members = lists.and_then(|lists| {
            let members = users.values().map(|present| &present.member);
            lists.list(users.len(), members)
        });
        place(is_first, members);
    }

    /// A connection of `user` leaves `room`. If it is the user's last there, `place` is called with the member as it entered.
    /// Ignores a user who is not in the room.
    pub(crate) fn leave(&self, room: &Channel, user: &UserId, place: impl FnOnce(Member)) {
        let mut stripe = self.rooms.lock(room);
        let Some(users) = stripe.get_mut(&**room) else {
            return;
        };
        let Some(present) = users.get_mut(user) else {
            return;
        };
        present.connections -= 1;
        if present.connections > 0 {
            return;
        }
        if let Some(left) = users.remove(user) {
            place(left.member);
        }
        shrink_if_sparse(users);
        if users.is_empty() {
            forget(&mut stripe, room);
        }
    }

    /// The users in `room`, in no order.
    pub(crate) fn present(&self, room: &Channel) -> Vec<Present> {
        let stripe = self.rooms.lock(room);
        let users = stripe.get(&**room);
        users.map_or_else(Vec::new, |users| users.values().cloned().collect())
    }

    /// How many rooms have members.
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;

    pub(crate) fn room(name: &str) -> Channel {
        Channel::new(name).expect("a name")
    }

    pub(crate) fn member(user: &str) -> Member {
        Member {
            user: UserId::new(user).expect("a name"),
            username: None,
            numeric: false,
            dialect: "rooms".into(),
        }
    }

    fn enter(rooms: &LocalRooms, room: &Channel, member: &Member) -> bool {
        let mut first = None;
        rooms.enter(room, member, None, |is_first, _| first = Some(is_first));
        first.expect("placed")
    }

    fn leave(rooms: &LocalRooms, room: &Channel, member: &Member) -> bool {
        let mut last = false;
        rooms.leave(room, &member.user, |_| last = true);
        last
    }

    #[test]
    fn users_join_with_their_first_connection_and_leave_with_their_last() {
        let (project, task) = (room("project:1"), room("task:1"));
        let (alice, bob) = (member("alice"), member("bob"));
        let rooms = LocalRooms::default();
        for (room, member, is_first) in [
            (&project, &alice, true),
            (&project, &alice, false),
            (&task, &alice, true),
            (&project, &bob, true),
        ] {
            assert_eq!(enter(&rooms, room, member), is_first, "{member:?} in {room}");
        }
        let mut present = rooms.present(&project);
        present.sort_by(|a, b| a.member.user.cmp(&b.member.user));
        let counts: Vec<_> = present
            .iter()
            .map(|one| (&*one.member.user, one.connections))
            .collect();
        assert_eq!((counts, rooms.rooms()), (vec![("alice", 2), ("bob", 1)], 2));
        for (room, member, was_last) in [
            (&project, &alice, false),
            (&project, &alice, true),
            (&project, &alice, false), // is not there
            (&task, &bob, false),      // never was
            (&project, &bob, true),
            (&project, &bob, false),
        ] {
            assert_eq!(leave(&rooms, room, member), was_last, "{member:?} in {room}");
        }
        assert!(rooms.present(&project).is_empty());
        assert_eq!(rooms.rooms(), 1);
    }

    #[test]
    fn a_list_of_members_includes_the_new_one_and_each_once() {
        let project = room("project:1");
        let (rooms, lists) = (LocalRooms::default(), ListLimit::new(3));
        for user in ["alice", "bob", "alice"] {
            enter(&rooms, &project, &member(user));
        }
        let mut found = Vec::new();
        rooms.enter(&project, &member("carol"), Some(&lists), |_, members| {
            found = members.expect("they were wanted");
        });
        found.sort_by(|a, b| a.user.cmp(&b.user));
        let expected: Vec<_> = ["alice", "bob", "carol"].map(member).into();
        assert_eq!((found, lists.left_out()), (expected, 0));
        rooms.enter(&project, &member("dave"), Some(&lists), |is_first, members| {
            assert_eq!((is_first, members), (true, None));
        });
        assert_eq!(lists.left_out(), 1);
    }

    #[test]
    fn threads_agree_on_firsts_and_lasts_and_place_them_in_order() {
        let project = room("project:1");
        let alice = member("alice");
        let rooms = LocalRooms::default();
        let placed = Mutex::new(Vec::new());
        let place = |word| placed.lock().expect("no panic").push(word);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        rooms.enter(&project, &alice, None, |is_first, _| {
                            if is_first {
                                place("joined");
                            }
                        });
                        rooms.leave(&project, &alice.user, |_| place("left"));
                    }
                });
            }
        });
        let placed = placed.into_inner().expect("no panic");
        assert!(placed.len() >= 2);
        assert!(placed.chunks(2).all(|pair| pair == ["joined", "left"]));
        assert_eq!(rooms.rooms(), 0);
    }
}
