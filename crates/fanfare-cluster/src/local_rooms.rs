//! The rooms of a single node. Connections enter and leave, and their announcements are delivered in order.

use std::time::SystemTime;

use ahash::AHashMap;
use fanfare_core::{
    Channel, Entered, Entry, EntryTicket, Inbound, Member, Presence, Present, Striped, UserId, forget,
    shrink_if_sparse, unix_millis,
};

use crate::{in_order::InOrder, list_limit::ListLimit, local};

/// The connections of each user in each room. A user joins with the first of them and leaves with the last.
pub(crate) struct LocalRooms {
    rooms: Striped<Channel, AHashMap<UserId, Present>>,
    pub(crate) lists: ListLimit,
    /// The changes that are not delivered. It is filled under a room's lock, so the changes of a room keep their order.
    changes: InOrder<LocalChange>,
}

/// A consequence of a connection that entered or left.
#[derive(Debug, PartialEq)]
enum LocalChange {
    Entered(EntryTicket, Entered),
    Announced(Presence, Channel, Member),
}

impl LocalRooms {
    pub(crate) fn new(max_listed_members: usize) -> Self {
        Self {
            rooms: Striped::default(),
            lists: ListLimit::new(max_listed_members),
            changes: InOrder::default(),
        }
    }

    /// Adds a connection to its room. The changes wait for [`Self::deliver`].
    pub(crate) fn enter(&self, entry: Entry) {
        let Entry {
            room,
            member,
            ticket,
            wants_members,
        } = entry;
        let mut stripe = self.rooms.lock(&room);
        let users = stripe.entry(room.clone()).or_default();
        let present = users.entry(member.user.clone()).or_insert_with(|| Present {
            member: member.clone(),
            connections: 0,
            since_ms: unix_millis(SystemTime::now()),
        });
        present.connections += 1;
        let first = present.connections == 1;
        let members = if wants_members {
            let members = users.values().map(|present| &present.member);
            self.lists.list(users.len(), members)
        } else {
            None
        };
        self.changes
            .push(LocalChange::Entered(ticket, Entered { first, members }));
        if first {
            self.changes
                .push(LocalChange::Announced(Presence::Joined, room, member));
        }
    }

    /// Removes a connection of `user` from `room`, unless the user is not there. The change waits for [`Self::deliver`].
    pub(crate) fn leave(&self, room: &Channel, user: &UserId) {
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
            let change = LocalChange::Announced(Presence::Left, room.clone(), left.member);
            self.changes.push(change);
        }
        shrink_if_sparse(users);
        if users.is_empty() {
            forget(&mut stripe, room);
        }
    }

    /// Delivers the waiting changes to the node, in order. No lock is held, because the dialects' code runs here.
    pub(crate) fn deliver(&self, inbound: &dyn Inbound) {
        self.changes.run(|change| match change {
            LocalChange::Entered(ticket, entered) => local::entered(inbound, ticket, entered),
            LocalChange::Announced(change, room, member) => {
                if let Some(event) = local::announcement(inbound, change, &room, &member) {
                    // It is delivered at the call, and its reach is not needed.
                    drop(inbound.deliver(vec![event]));
                }
            }
        });
    }

    /// Returns the users in `room`, in no order.
    pub(crate) fn present(&self, room: &Channel) -> Vec<Present> {
        let stripe = self.rooms.lock(room);
        let users = stripe.get(&**room);
        users.map_or_else(Vec::new, |users| users.values().cloned().collect())
    }

    /// Returns the number of rooms with members.
    pub(crate) fn count(&self) -> usize {
        self.rooms.count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn room(name: &str) -> Channel {
        Channel::new(name).expect("a name")
    }

    fn member(user: &str) -> Member {
        Member {
            user: UserId::new(user).expect("a name"),
            username: None,
            numeric: false,
            dialect: "rooms".into(),
        }
    }

    const TICKET: EntryTicket = EntryTicket(7);

    fn add(rooms: &LocalRooms, room: &Channel, member: &Member, wants_members: bool) {
        rooms.enter(Entry {
            room: room.clone(),
            member: member.clone(),
            ticket: TICKET,
            wants_members,
        });
    }

    /// Takes the changes that wait for their delivery.
    fn changes(rooms: &LocalRooms) -> Vec<LocalChange> {
        let changes = Mutex::new(Vec::new());
        rooms
            .changes
            .run(|change| changes.lock().expect("no panic").push(change));
        changes.into_inner().expect("no panic")
    }

    /// Adds a connection. Returns whether it is the user's first, as the answer and the announcement show.
    fn enter(rooms: &LocalRooms, room: &Channel, member: &Member) -> bool {
        add(rooms, room, member, false);
        let answer = |first| LocalChange::Entered(TICKET, Entered { first, members: None });
        let joined = LocalChange::Announced(Presence::Joined, room.clone(), member.clone());
        let changes = changes(rooms);
        let is_first = changes == [answer(true), joined];
        assert!(is_first || changes == [answer(false)], "{changes:?}");
        is_first
    }

    /// Removes a connection. Returns whether it was the user's last.
    fn leave(rooms: &LocalRooms, room: &Channel, member: &Member) -> bool {
        rooms.leave(room, &member.user);
        let left = LocalChange::Announced(Presence::Left, room.clone(), member.clone());
        let changes = changes(rooms);
        let is_last = changes == [left];
        assert!(is_last || changes.is_empty(), "{changes:?}");
        is_last
    }

    /// Adds a connection that requests the members. Returns them, sorted.
    fn list(rooms: &LocalRooms, room: &Channel, member: &Member) -> Option<Vec<Member>> {
        add(rooms, room, member, true);
        let changes = changes(rooms);
        let Some(LocalChange::Entered(_, Entered { members, .. })) = changes.into_iter().next() else {
            panic!("no answer");
        };
        let mut members = members?;
        members.sort_by(|a, b| a.user.cmp(&b.user));
        Some(members)
    }

    #[test]
    fn users_join_with_their_first_connection_and_leave_with_their_last() {
        let (project, task) = (room("project:1"), room("task:1"));
        let (alice, bob) = (member("alice"), member("bob"));
        let rooms = LocalRooms::new(3);
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
        assert_eq!((counts, rooms.count()), (vec![("alice", 2), ("bob", 1)], 2));
        for (room, member, was_last) in [
            (&project, &alice, false),
            (&project, &alice, true),
            (&project, &alice, false), // has left
            (&task, &bob, false),      // never entered
            (&project, &bob, true),
            (&project, &bob, false),
        ] {
            assert_eq!(leave(&rooms, room, member), was_last, "{member:?} in {room}");
        }
        assert!(rooms.present(&project).is_empty());
        assert_eq!(rooms.count(), 1);
    }

    #[test]
    fn a_list_of_members_includes_the_new_one_and_each_once() {
        let project = room("project:1");
        let rooms = LocalRooms::new(3);
        for user in ["alice", "bob", "alice"] {
            enter(&rooms, &project, &member(user));
        }
        let expected: Vec<_> = ["alice", "bob", "carol"].map(member).into();
        assert_eq!(list(&rooms, &project, &member("carol")), Some(expected));
        assert_eq!(rooms.lists.left_out(), 0);
        assert_eq!(list(&rooms, &project, &member("dave")), None);
        assert_eq!(rooms.lists.left_out(), 1);
        assert_eq!(rooms.present(&project).len(), 4);
    }

    #[test]
    fn threads_agree_on_firsts_and_lasts_and_place_them_in_order() {
        let project = room("project:1");
        let alice = member("alice");
        let rooms = LocalRooms::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        add(&rooms, &project, &alice, false);
                        rooms.leave(&project, &alice.user);
                    }
                });
            }
        });
        let announced = changes(&rooms).into_iter().filter_map(|change| match change {
            LocalChange::Announced(change, ..) => Some(change),
            LocalChange::Entered(..) => None,
        });
        let announced: Vec<_> = announced.collect();
        assert!(announced.len() >= 2);
        assert!(
            announced
                .chunks(2)
                .all(|pair| pair == [Presence::Joined, Presence::Left])
        );
        assert_eq!(rooms.count(), 0);
    }
}
