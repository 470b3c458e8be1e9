//! Connections are shown the same, in the same order, whichever of the store's reply and the announcement comes first.
#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use fanfare_core::{Audience, EntryTicket, Event, RawJson};

use super::*;
use crate::{
    deliveries::Queue,
    transport::presence::{HeldMember, LeaseId, RoomMembers},
    wire::PresenceMark,
};

const OWN: LeaseId = LeaseId(1);
const OTHER: LeaseId = LeaseId(2);

/// A node's state, and its delivery queue.
struct Node {
    state: State,
    queue: Queue,
}

fn room() -> Channel {
    Channel::new("project:1").unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn member(name: &str) -> Member {
    Member {
        user: user(name),
        username: None,
        numeric: false,
        dialect: "rooms".into(),
    }
}

fn list(version: u64, members: &[(&str, LeaseId)]) -> RoomMembers {
    let held = |(name, lease): &(&str, LeaseId)| HeldMember {
        member: member(name),
        leases: vec![*lease],
        version: 0,
    };
    RoomMembers {
        version,
        members: members.iter().map(held).collect(),
        too_many: false,
    }
}

impl Node {
    /// Returns a node that counts with the others.
    fn connected() -> Self {
        let (deliveries, queue) = Deliveries::new();
        let mut state = State::new(deliveries, Arc::new(ListLimit::new(100)));
        state.set_receiving(true);
        assert!(state.connect());
        Self { state, queue }
    }

    fn enter(&mut self, name: &str, ticket: u64) {
        self.state.enter(&Entry {
            room: room(),
            member: member(name),
            ticket: EntryTicket(ticket),
            wants_members: true,
        });
    }

    fn leave(&mut self, name: &str) {
        self.state.leave(&room(), &user(name));
    }

    /// Takes the next change for the store.
    fn next(&mut self) -> MemberChange {
        let mut tasks = self.state.take(1);
        match tasks.pop() {
            Some(Task::Member(change)) => change,
            _ => panic!("no change"),
        }
    }

    /// Receives an announcement of this node's change `number`, or of another node.
    fn arrives(&mut self, change: Presence, name: &str, version: u64, number: Option<u64>) {
        let mark = PresenceMark {
            change,
            member: member(name),
            number: number.unwrap_or(7),
            version,
        };
        let sign = if change == Joined { '+' } else { '-' };
        let data = RawJson::parse(&format!("\"{sign}{name}\"").into()).unwrap();
        let event = Event::new(Audience::Channel(room()), None, data, SystemTime::UNIX_EPOCH);
        self.state.receive(&room(), mark, event, number.is_some());
    }

    /// Returns the deliveries since the last call: `+alice` for an announcement that arrived, `(+alice)` for one that this node
    /// makes, `1!alice,bob` for the user's first entry with the members, `1:…` for a later entry.
    fn delivered(&mut self) -> String {
        let items = std::iter::from_fn(|| self.queue.next());
        let words = items.map(|item| match item {
            Item::Event(event, _) => event.data.as_str().trim_matches('"').to_owned(),
            Item::Announce(Joined, _, member) => format!("(+{})", &*member.user),
            Item::Announce(Left, _, member) => format!("(-{})", &*member.user),
            Item::Entered(ticket, entered) => {
                let names =
                    |members: &Vec<Member>| members.iter().map(|member| member.user.to_string()).collect();
                let mut users: Vec<_> = entered.members.as_ref().map_or(vec!["?".to_owned()], names);
                users.sort();
                let sign = if entered.first { '!' } else { ':' };
                format!("{}{sign}{}", ticket.0, users.join(","))
            }
            _ => panic!("another item"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

use Presence::{Joined, Left};

#[test]
fn the_announcement_comes_after_the_reply_or_before_it() {
    for echo_first in [true, false] {
        let mut node = Node::connected();
        node.enter("alice", 1);
        let change = node.next();
        assert!(change.list, "the first in a room asks for its members");
        let number = change.number;
        // The list contains it, but connections that only listen have not seen it.
        node.arrives(Joined, "bob", 10, None);
        if echo_first {
            node.arrives(Joined, "alice", 20, Some(number));
        }
        assert_eq!(node.delivered(), "");
        node.state
            .applied(&change, true, Some(list(20, &[("alice", OWN), ("bob", OTHER)])));
        if !echo_first {
            assert_eq!(
                node.delivered(),
                "",
                "all that arrived before the list is shown first"
            );
            node.arrives(Joined, "alice", 20, Some(number));
        }
        node.arrives(Joined, "carol", 30, None);
        node.arrives(Joined, "carol", 30, None);
        assert_eq!(node.delivered(), "+bob 1!alice,bob +alice +carol", "{echo_first}");

        // The next change needs no list.
        node.enter("dave", 2);
        let change = node.next();
        assert!(!change.list);
        let number = change.number;
        if echo_first {
            node.arrives(Joined, "dave", 40, Some(number));
        }
        node.state.applied(&change, true, None);
        if !echo_first {
            node.arrives(Joined, "dave", 40, Some(number));
        }
        assert_eq!(node.delivered(), "2!alice,bob,carol,dave +dave");
        node.enter("dave", 3);
        assert_eq!(node.delivered(), "3:alice,bob,carol,dave");
    }
}

#[test]
fn announcements_of_a_room_with_too_many_members_are_not_filtered() {
    let too_many = |version| RoomMembers {
        version,
        members: Vec::new(),
        too_many: true,
    };
    let mut node = Node::connected();
    node.enter("alice", 1);
    let change = node.next();
    node.arrives(Joined, "bob", 10, None);
    node.state.applied(&change, true, Some(too_many(20)));
    node.arrives(Joined, "alice", 20, Some(change.number));
    for _ in 0..2 {
        node.arrives(Left, "carol", 30, None);
    }
    node.enter("alice", 2);
    assert_eq!(node.delivered(), "+bob 1!? +alice -carol 2:?");
    // The changes during an outage are unknown, whether the room is still as large or not.
    for (compared, expected) in [
        (too_many(40), "+dave +bob"),
        (list(60, &[("alice", OWN), ("bob", OTHER)]), "+dave"),
    ] {
        node.state.set_receiving(false);
        node.state.set_receiving(true);
        assert_eq!(node.state.take_unsynced(9), [room()]);
        let version = compared.version;
        node.state.reconcile(&room(), Some(compared), &[OWN]);
        assert_eq!(node.delivered(), "");
        node.arrives(Joined, "dave", version + 1, None);
        node.arrives(Joined, "bob", version + 2, None);
        assert_eq!(node.delivered(), expected);
    }
    assert_eq!(node.state.counts.unlisted, 2);
    assert_eq!(node.state.lists.left_out(), 2);
}

#[test]
fn a_user_who_is_present_by_another_node_is_not_announced() {
    let mut node = Node::connected();
    node.enter("alice", 1);
    node.enter("alice", 2);
    let change = node.next();
    let members = list(20, &[("alice", OTHER), ("bob", OTHER)]);
    node.state.applied(&change, false, Some(members));
    node.arrives(Joined, "bob", 10, None);
    let unannounced = node.state.take_unannounced();
    assert_eq!(unannounced.len(), 1);
    assert_eq!(node.delivered(), "", "announcements may still be in flight");
    node.state.activate_list(&unannounced[0]);
    assert_eq!(node.delivered(), "+bob 1:alice,bob 2:alice,bob");
    node.leave("alice");
    node.leave("alice");
    let change = node.next();
    assert_eq!((change.change, change.was_held), (Left, true));
    node.state.applied(&change, false, None);
    assert_eq!(node.delivered(), "");
    assert!(node.state.rooms.is_empty() && node.state.awaited.is_empty());
}

#[test]
fn a_connection_that_only_listens_receives_a_leave_and_a_join_in_quick_succession() {
    let mut node = Node::connected();
    node.enter("alice", 1);
    let change = node.next();
    node.state
        .applied(&change, true, Some(list(20, &[("alice", OWN)])));
    node.arrives(Joined, "alice", 20, Some(change.number));
    assert_eq!(node.delivered(), "1!alice +alice");
    node.leave("alice");
    node.enter("alice", 2);
    let (left, joined) = (node.next(), node.next());
    node.state.applied(&left, true, None);
    node.state
        .applied(&joined, true, Some(list(40, &[("alice", OWN)])));
    node.arrives(Left, "alice", 30, Some(left.number));
    node.arrives(Joined, "alice", 40, Some(joined.number));
    assert_eq!(node.delivered(), "-alice 2!alice +alice");
    assert!(node.state.awaited.is_empty());
}

#[test]
fn a_connection_that_waits_for_its_announcement_is_answered_if_the_link_is_lost() {
    let mut node = Node::connected();
    node.enter("alice", 1);
    let change = node.next();
    let members = list(20, &[("alice", OWN), ("bob", OTHER)]);
    node.state.applied(&change, true, Some(members));
    assert_eq!(node.delivered(), "");
    node.state.set_receiving(false);
    assert_eq!(node.delivered(), "1!alice,bob (+alice)");
}

#[test]
fn changes_whose_announcement_never_arrives_are_removed() {
    let mut node = Node::connected();
    node.enter("alice", 1);
    let change = node.next();
    let number = change.number;
    node.state
        .applied(&change, true, Some(list(20, &[("alice", OWN)])));
    node.arrives(Joined, "alice", 20, Some(number));
    node.leave("alice");
    let change = node.next();
    // The node has unsubscribed from the room.
    node.state.applied(&change, true, None);
    assert!(node.state.rooms.is_empty() && node.state.awaited.is_empty());
}

#[test]
fn a_disconnected_node_decides_by_its_own_counts() {
    let mut node = Node::connected();
    node.enter("alice", 1);
    let change = node.next();
    let members = list(20, &[("alice", OWN), ("bob", OTHER)]);
    let number = change.number;
    node.state.applied(&change, true, Some(members));
    node.arrives(Joined, "alice", 20, Some(number));
    // When the connection is lost, carol is confirmed but not announced, dave is in flight, and erin is queued.
    node.enter("carol", 2);
    node.enter("dave", 3);
    node.enter("erin", 4);
    let (carol, dave) = (node.next(), node.next());
    node.state.applied(&carol, true, None);
    node.delivered();
    node.state.set_receiving(false);
    assert_eq!(node.delivered(), "(+carol) 4!alice,bob,carol,erin (+erin)");
    node.state.failed(Task::Member(dave));
    assert_eq!(node.delivered(), "3!alice,bob,carol,dave,erin (+dave)");
    node.leave("erin");
    node.enter("bob", 5);
    node.enter("alice", 6);
    assert_eq!(
        node.delivered(),
        "(-erin) 5:alice,bob,carol,dave 6:alice,bob,carol,dave"
    );
    // A late announcement of this node's own change is ignored.
    node.arrives(Joined, "carol", 30, Some(carol.number));
    assert_eq!(node.delivered(), "");

    // After the outage, unconfirmed users are stored, and the differences are announced.
    node.state.set_receiving(true);
    let mut marked: Vec<(String, Presence)> = Vec::new();
    for task in node.state.take_marked(10) {
        let Task::Member(change) = task else { panic!() };
        marked.push((change.member.user.to_string(), change.change));
        node.state.applied(&change, false, None);
    }
    marked.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("bob", Joined), ("dave", Joined)];
    assert_eq!(marked, expected.map(|(name, change)| (name.to_owned(), change)));
    assert!(!node.state.connect());
    let rooms = node.state.take_unsynced(10);
    assert_eq!(rooms, [room()]);
    // Announcements wait meanwhile: the list may contain them.
    node.arrives(Joined, "frank", 50, None);
    node.arrives(Left, "frank", 70, None);
    let members = ["alice", "carol", "dave"].map(|name| (name, OWN));
    let members = [&members[..], &[("frank", OTHER), ("bob", OWN)]].concat();
    node.state.reconcile(&room(), Some(list(60, &members)), &[OWN]);
    assert_eq!(node.delivered(), "(+frank) -frank");
    assert!(node.state.connect());
}

#[test]
fn after_a_lost_lease_only_cleaned_users_are_announced_again() {
    for cleaned in [true, false] {
        let mut node = Node::connected();
        node.enter("alice", 1);
        let change = node.next();
        let number = change.number;
        node.state
            .applied(&change, true, Some(list(20, &[("alice", OWN)])));
        node.arrives(Joined, "alice", 20, Some(number));
        node.delivered();
        node.state.lease_gone(cleaned);
        node.leave("alice");
        node.enter("bob", 2);
        assert_eq!(node.delivered(), "(-alice) 2!bob (+bob)");
        node.leave("bob");
        node.enter("alice", 3);
        assert_eq!(node.delivered(), "(-bob) 3!alice (+alice)");
        node.enter("bob", 4);
        let tasks = node.state.take_marked(10);
        let announced = tasks.iter().map(|task| match task {
            Task::Member(change) => (&*change.member.user, change.announced),
            Task::Slot(_) => panic!(),
        });
        let announced: Vec<_> = announced.collect();
        // If the store lost its records, alice has been announced and was not announced as left.
        assert_eq!(announced, [("alice", cleaned), ("bob", true)]);
    }
}

#[test]
fn places_of_slots_are_reported_once() {
    let mut node = Node::connected();
    let slot = |name: &str| SlotName::new(name);
    let mut granted = node.state.acquire(slot("a"), 1).unwrap();
    let mut second = node.state.acquire(slot("a"), 1).unwrap();
    let tasks = node.state.take(10);
    assert_eq!(tasks.len(), 1, "one at a time for a slot");
    for task in tasks {
        let Task::Slot(change) = task else { panic!() };
        node.state.applied_slot(change, true);
    }
    assert_eq!(granted.try_recv(), Ok(true));
    for task in node.state.take(10) {
        let Task::Slot(change) = task else { panic!() };
        node.state.applied_slot(change, false);
    }
    assert_eq!(second.try_recv(), Ok(false));
    // If the caller no longer waits, the place is released.
    drop(node.state.acquire(slot("b"), 1));
    for task in node.state.take(10) {
        let Task::Slot(change) = task else { panic!() };
        node.state.applied_slot(change, true);
    }
    let Some(Task::Slot(change)) = node.state.take(10).pop() else {
        panic!("it is reported");
    };
    assert_eq!(node.state.slots.count(&change.slot), 0);
    node.state.applied_slot(change, true);

    node.state.set_receiving(false);
    assert!(node.state.acquire(slot("c"), 1).is_none());
    node.state.release(slot("c"));
    assert!(node.state.acquire(slot("d"), 1).is_none());
    let reports = node.state.take_marked(10);
    assert_eq!(reports.len(), 1, "only the slot that is held");
    for task in reports {
        let Task::Slot(change) = task else { panic!() };
        assert_eq!(
            (&change.slot, node.state.slots.count(&change.slot)),
            (&slot("d"), 1)
        );
        node.state.applied_slot(change, true);
    }
    assert!(node.state.is_caught_up());
}
