//! Rooms: the first and the last connection of a user, and the notices to the other members.

use std::time::{Duration, Instant};

use fanfare_core::{Broker, Channel, Ending, Entry, EntryTicket, Inbound, Member, Subscription};

use crate::directory::Grant;

use super::world::{Setup, World, in_world, on, settings, until};
use crate::{
    ConnectionGuard, DialectSettings,
    connection::{Connection, Traits},
    interest_guard::InterestGuard,
};

#[test]
fn a_user_joins_with_the_first_connection_and_leaves_with_the_last() {
    let setup = Setup {
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut clients = [
            world.connect_on(0, "alice").await,
            world.connect_on(1, "alice").await,
            world.connect_on(1, "bob").await,
        ];
        for (client, asked, answer) in [
            (0, "join project:1", "join: ok"),
            (1, "join project:1", "join: ok"),
            (1, "join project:1", "join: ok"),
            (2, "join project:1", "join: ok"),
            (1, "join project:2", "join: ok"),
            (0, "leave project:2", "leave: not_member"),
            (0, "leave project:1", "leave: ok"),
            (0, "pub-member project:1 1", "pub-member: not_member"),
            (0, "join project:1", "join: ok"),
            (1, "leave project:1", "leave: ok"),
            (0, "leave project:1", "leave: ok"),
            (0, "join project:1", "join: ok"),
        ] {
            assert_eq!(clients[client].ask(asked).await, answer, "{client} {asked}");
        }
        world.has_rooms(2).await;
    });
}

#[test]
fn a_subscriber_may_join_and_leaves_both() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        for (asked, answer) in [
            ("sub project:1", "sub: ok"),
            ("leave project:1", "leave: not_member"),
            ("join project:1", "join: ok"),
            ("sub project:1", "sub: ok"),
            ("pub-member project:1 1", "pub-member: ok"),
        ] {
            assert_eq!(alice.ask(asked).await, answer, "{asked}");
        }
        alice.receives(&["1"]).await;
        assert_eq!(alice.ask("leave project:1").await, "leave: ok");
        assert_eq!(world.publish_on("project:1", "2").await, 0);
    });
}

#[test]
fn unsubscribing_from_a_room_leaves_it() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.ask("join project:1").await;
        let mut bob = world.connect("bob").await;
        bob.ask("sub project:1").await;
        assert_eq!(alice.ask("unsub project:1").await, "unsub: ok");
        world.has_rooms(0).await;
        bob.receives(&["\"alice-left\""]).await;
        assert_eq!(alice.ask("join project:1").await, "join: ok");
    });
}

#[test]
fn members_are_notified_when_a_users_last_connection_ends() {
    let setup = Setup {
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut one, mut two) = (
            world.connect_on(0, "alice").await,
            world.connect_on(1, "alice").await,
        );
        let mut bob = world.connect_on(1, "bob").await;
        for client in [&mut one, &mut two, &mut bob] {
            client.ask("join project:1").await;
        }
        two.ask("join task:1").await;
        bob.ask("sub task:1").await;
        drop(one);
        world.held(0).await;
        bob.receives_no_more().await;
        two.say("end").await;
        two.close().await;
        drop(two);
        let mut heard = [bob.text().await, bob.text().await];
        heard.sort();
        assert_eq!(heard, ["\"alice-left\"", "\"alice-left\""]);
        bob.receives_no_more().await;
        assert_eq!(bob.ask("leave project:1").await, "leave: ok");
    });
}

#[test]
fn a_conversation_may_leave_and_join_when_its_join_is_confirmed() {
    // On a separate thread, because a lock that is held meanwhile would deadlock the shard.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        in_world(settings(), |world| async move {
            let (mut bob, mut loud) = (world.connect("bob").await, world.connect("loud").await);
            bob.ask("join project:1").await;
            assert_eq!(loud.ask("visit project:1 task:1").await, "visit: ok");
            loud.receives(&["leave: ok", "join: ok", "\"loud-joined\""]).await;
            // The same room again, in which others are: their room learns of all changes in order.
            assert_eq!(loud.ask("visit project:1 project:1").await, "visit: ok");
            loud.receives(&["leave: ok", "join: ok"]).await;
            drop(loud);
            let joined_and_left = ["\"loud-joined\"", "\"loud-left\""];
            for _ in 0..3 {
                bob.receives(&joined_and_left).await;
            }
            bob.receives_no_more().await;
        });
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(20)).expect("no deadlock");
}

#[test]
fn a_joins_reply_precedes_its_announcement() {
    in_world(settings(), |world| async move {
        let mut loud = world.connect("loud").await;
        assert_eq!(loud.ask("join project:1").await, "join: ok");
        assert_eq!(loud.text().await, "\"loud-joined\"");
    });
}

#[test]
fn commands_behind_a_pending_entry_are_answered_in_order() {
    in_world(settings(), |world| async move {
        let (mut loud, mut bob) = (world.connect("loud").await, world.connect("bob").await);
        bob.ask("sub project:1").await;
        world.broker.carries.shut();
        loud.say_all(&["join project:1", "hello"]).await;
        until(|| world.waiting() == 1).await;
        let reached = world.node.deliver(vec![on("project:1", "0")]).await;
        assert_eq!(
            reached[0].queued, 1,
            "the subscriber alone: it is not in the room yet"
        );
        world.broker.carries.open();
        loud.receives(&["join: ok", "\"loud-joined\"", "hello"]).await;
        bob.receives(&["0", "\"loud-joined\""]).await;
    });
}

#[test]
fn a_connection_that_ends_while_it_enters_leaves_no_member() {
    in_world(settings(), |world| async move {
        let (mut loud, mut bob) = (world.connect("loud").await, world.connect("bob").await);
        bob.ask("sub project:1").await;
        world.broker.carries.shut();
        loud.say("join project:1").await;
        until(|| world.waiting() == 1).await;
        let ended = world
            .shard
            .end_matching(Ending::Dismissed, Connection::is_waiting);
        assert_eq!(ended, 1);
        assert_eq!(loud.close().await.0, 1008);
        drop(loud);
        world.held(1).await;
        world.broker.carries.open();
        bob.receives(&["\"loud-joined\"", "\"loud-left\""]).await;
        world.has_rooms(0).await;
    });
}

#[test]
fn rooms_that_are_joined_in_one_read_are_answered_in_order() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        // Twice before either is answered, then once more behind that.
        alice
            .say_all(&[
                "join project:1;join project:1",
                "join project:1",
                "leave project:1",
            ])
            .await;
        alice
            .receives(&["join: ok", "join: ok", "join: ok", "leave: ok"])
            .await;
        world.has_rooms(0).await;
        let rooms: Vec<String> = (0..10).map(|n| format!("join task:{n}")).collect();
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        alice.say_all(&rooms).await;
        alice.receives(&["join: ok"; 10]).await;
        assert_eq!(alice.ask("join task:10").await, "join: too_many_subscriptions");
        world.has_rooms(10).await;
    });
}

#[test]
fn a_join_can_request_the_list_of_members() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        let mut again = world.connect("bob").await;
        assert_eq!(bob.ask("join project:1 members").await, "join: bob");
        assert_eq!(alice.ask("join project:1 members").await, "join: alice bob");
        assert_eq!(again.ask("join project:1 members").await, "join: alice bob");
        // In the room already: the list comes, and nothing is counted for it.
        assert_eq!(bob.ask("join project:1 members").await, "join: alice bob");
        for client in [&mut bob, &mut again] {
            assert_eq!(client.ask("leave project:1").await, "leave: ok");
        }
        alice.receives(&["\"bob-left\""]).await;
        assert_eq!(alice.ask("join project:1 members").await, "join: alice");
        assert_eq!(alice.ask("join project:1").await, "join: ok");
    });
}

/// Adds connections without sockets that have joined one room.
async fn crowd(world: &World, count: usize) -> Vec<ConnectionGuard> {
    let room = Channel::new("project:1").unwrap();
    let mut seats = Vec::new();
    for n in 0..count {
        seats.push(
            world
                .reserve(&format!("user{n}"), Duration::from_secs(600))
                .await
                .unwrap(),
        );
    }
    let mut connections = world.shard.connections.borrow_mut();
    for slot in 0..count {
        let (key, driver) = connections.in_slot(slot).unwrap();
        let connection = &mut driver.connection;
        let (guard, _) = InterestGuard::channel(&world.node, 0, &room);
        world.broker.rooms.enter(Entry {
            room: room.clone(),
            member: Member::new(connection.subscriber.identity.as_ref().unwrap(), "plain"),
            ticket: EntryTicket(u64::MAX), // no shard's
            wants_members: false,
        });
        let traits = Traits {
            member: true,
            ..Traits::default()
        };
        let grant = Grant {
            wanted: Subscription::Channel(room.clone()),
            guard: Some(guard),
            traits,
        };
        world.shard.directory.subscribe(key, connection, grant);
    }
    drop(connections);
    seats
}

#[test]
fn the_cost_of_a_leave_does_not_depend_on_the_number_of_members() {
    // The cost of a leave must not depend on the number of members. The best of three counts, because other processes use the
    // machine.
    let took = |count: usize| {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let roomy = DialectSettings {
                max_connections: count,
                ..settings()
            };
            let (tell, told) = std::sync::mpsc::channel();
            in_world(roomy, |world| async move {
                let seats = crowd(&world, count).await;
                let members = world.broker.present(&Channel::new("project:1").unwrap());
                assert_eq!(members.len(), count);
                let start = Instant::now();
                drop(seats);
                world.has_rooms(0).await;
                tell.send(start.elapsed()).unwrap();
            });
            best = best.min(told.recv().unwrap());
        }
        best
    };
    let (few, many) = (took(2_000), took(10_000));
    assert!(many < few * 5 * 4, "{many:?} for 10,000 and {few:?} for 2,000");
}
