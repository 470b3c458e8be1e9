//! The receivers of events: their publishers, overlapping subscriptions, patterns over restricted channels, private events.

use fanfare_core::{Channel, UserId};

use super::{
    plain::Plain,
    world::{Setup, in_world, on, rules, settings},
};

#[test]
fn a_publisher_receives_its_own_event_after_the_reply() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.say_all(&["sub a", "pub a 1", "pub a 2"]).await;
        alice.receives(&["sub: ok", "pub: ok", "pub: ok", "1", "2"]).await;
    });
}

#[test]
fn overlapping_subscriptions_show_an_event_once() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        assert_eq!(alice.ask("sub a.b a.* ** *.b").await, "sub: ok ok ok ok");
        assert_eq!(bob.ask("sub a.* **").await, "sub: ok ok");
        assert_eq!(world.publish_on("a.b", "1").await, 2);
        assert_eq!(world.publish_on("a.c", "2").await, 2);
        for client in [&mut alice, &mut bob] {
            client.receives(&["1", "2"]).await;
            client.receives_no_more().await;
        }
        for (left, heard) in [("a.b", 2), ("**", 2), ("*.b", 2), ("a.*", 1)] {
            assert_eq!(alice.ask(&format!("unsub {left}")).await, "unsub: ok");
            assert_eq!(world.publish_on("a.b", "3").await, heard, "without {left}");
            if heard == 2 {
                alice.receives(&["3"]).await;
            }
        }
    });
}

#[test]
fn subscriptions_show_personal_events_and_events_for_everyone() {
    for (subscription, user, everyone) in [
        ("a.b", 0, 0),
        ("user:al.ice", 1, 0),
        ("user_noti:al.ice", 1, 0),
        ("notifications.user.al.ice", 1, 0),
        ("notifications.user.*", 1, 0),
        ("user:*", 1, 0),
        ("notifications.**", 1, 0),
        ("user:bob", 0, 0),
        ("user.*", 0, 0),
        ("notifications", 0, 1),
        ("*", 0, 1),
        ("**", 1, 1),
    ] {
        let setup = Setup {
            dialects: vec![Plain::by_subscription()],
            ..Setup::default()
        };
        setup.run(|world| async move {
            let mut alice = world.connect("al.ice").await;
            let heard = async || {
                let user = world.publish("al.ice", "t", "1").await.reach.queued;
                (user, world.publish("*", "t", "2").await.reach.queued)
            };
            assert_eq!(heard().await, (0, 0));
            alice.ask(&format!("sub {subscription}")).await;
            assert_eq!(heard().await, (user, everyone), "{subscription}");
            let events: &[&str] = match (user, everyone) {
                (0, 0) => &[],
                (_, 0) => &["1"],
                (0, _) => &["2"],
                _ => &["1", "2"],
            };
            alice.receives(events).await;
            alice.ask(&format!("unsub {subscription}")).await;
            assert_eq!(heard().await, (0, 0), "after {subscription}");
        });
    }
}

#[test]
fn a_pattern_receives_only_the_public_events_that_its_user_may_read() {
    let setup = Setup {
        dialects: vec![Plain::by_subscription()],
        policy: rules(&[("notifications", "role:staff", "anyone")]),
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob+staff").await);
        for (client, answer) in [(&mut alice, "sub: ok forbidden"), (&mut bob, "sub: ok ok")] {
            assert_eq!(client.ask("sub ** notifications").await, answer);
        }
        assert_eq!(world.publish("*", "t", "1").await.reach.queued, 1);
        bob.receives(&["1"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn a_pattern_shows_only_channels_that_its_connection_may_subscribe_to() {
    let setup = Setup {
        policy: rules(&[
            ("staff.**", "role:staff", "anyone"),
            ("none.**", "nobody", "anyone"),
        ]),
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut staff = world.connect_on(0, "alice+staff").await;
        let (mut bob, mut nobody) = (world.connect_on(1, "bob").await, world.connect_on(0, "").await);
        for client in [&mut staff, &mut bob, &mut nobody] {
            assert_eq!(client.ask("sub ** *.x").await, "sub: ok ok");
        }
        for (channel, heard) in [
            ("staff.x", 1),
            ("none.x", 0),
            ("messages.x", 2),
            ("project:1", 2),
            ("open.x", 3),
        ] {
            assert_eq!(
                world.publish_on(channel, &format!("\"{channel}\"")).await,
                heard,
                "{channel}"
            );
        }
        staff
            .receives(&["\"staff.x\"", "\"messages.x\"", "\"project:1\"", "\"open.x\""])
            .await;
        bob.receives(&["\"messages.x\"", "\"project:1\"", "\"open.x\""])
            .await;
        nobody.receives(&["\"open.x\""]).await;
        for client in [&mut staff, &mut bob, &mut nobody] {
            client.receives_no_more().await;
        }
    });
}

#[test]
fn private_events_are_for_the_named_users_and_for_admins() {
    in_world(settings(), |world| async move {
        let mut clients = Vec::new();
        for (user, subscription) in [
            ("alice", "messages.a"),
            ("bob", "messages.a"),
            ("bob", "messages.**"),
            ("carol", "**"),
            ("dave+admin", "**"),
            ("erin+admin", "messages.a"),
        ] {
            let mut client = world.connect(user).await;
            client.ask(&format!("sub {subscription}")).await;
            clients.push(client);
        }
        let private = |users: &[&str], data: &str| fanfare_core::Event {
            private_to: Some(users.iter().map(|user| UserId::new(user).unwrap()).collect()),
            ..on("messages.a", data)
        };
        let events = vec![
            private(&["alice"], "1"),
            private(&["bob", "carol"], "2"),
            private(&[], "3"),
            on("messages.a", "4"),
        ];
        let receipts = world.publish_all(events).await;
        let reached: Vec<_> = receipts.iter().map(|receipt| receipt.reach.queued).collect();
        assert_eq!(reached, [3, 5, 2, 6]);
        let expected: [&[&str]; 6] = [
            &["1", "4"],
            &["2", "4"],
            &["2", "4"],
            &["2", "4"],
            &["1", "2", "3", "4"],
            &["1", "2", "3", "4"],
        ];
        for (client, expected) in clients.iter_mut().zip(expected) {
            client.receives(expected).await;
            client.receives_no_more().await;
        }
    });
}

/// An event for the readers of a room reaches them, the named users and admins, by any subscription.
#[test]
fn an_event_for_the_readers_of_a_room_reaches_only_them() {
    let setup = Setup {
        policy: rules(&[
            ("project:9", "role:staff", "role:staff"),
            ("messages", "anyone", "anyone"),
        ]),
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut clients = Vec::new();
        let mut heard = 0;
        for (user, hears) in [
            ("alice+staff", true),
            ("bob", false),
            ("", false),
            ("carol", true),
            ("dave+admin", true),
        ] {
            for subscription in ["messages", "**"] {
                let mut client = world.connect(user).await;
                client.ask(&format!("sub {subscription}")).await;
                clients.push((client, hears));
                heard += u64::from(hears);
            }
        }
        let event = |readers_of: Option<&str>, data: &str| fanfare_core::Event {
            private_to: readers_of.map(|_| [UserId::new("carol").unwrap()].into()),
            readers_of: readers_of.and_then(|name| Channel::new(name).ok()),
            ..on("messages", data)
        };
        let events = vec![
            event(Some("project:9"), "1"),
            event(None, "2"),
            event(Some("project:8"), "3"),
        ];
        let receipts = world.publish_all(events).await;
        let all = clients.len() as u64;
        let reached: Vec<_> = receipts.iter().map(|receipt| receipt.reach.queued).collect();
        assert_eq!(
            reached,
            [heard, all, all - 2],
            "the third is for all but strangers"
        );
        for (client, hears) in &mut clients {
            if *hears {
                client.receives(&["1"]).await;
            }
            client.receives(&["2"]).await;
        }
    });
}

#[test]
fn a_shard_gets_only_events_for_its_connections() {
    let setup = Setup {
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut one, mut two) = (
            world.connect_on(0, "alice").await,
            world.connect_on(1, "bob").await,
        );
        let concerned = |channel: &str| {
            let shards = world.node.interests.shards_of_channel(channel);
            (shards.contains(0), shards.contains(1))
        };
        for (asker, asked, on_a, on_b) in [
            (1, "sub a", (true, false), (false, false)),
            (2, "sub a b", (true, true), (false, true)),
            (1, "sub b.* c.*", (true, true), (true, true)),
            (1, "unsub a c.*", (true, true), (true, true)),
            (1, "unsub b.*", (false, true), (false, true)),
            (2, "unsub a b", (false, false), (false, false)),
        ] {
            let client = if asker == 1 { &mut one } else { &mut two };
            client.ask(asked).await;
            assert_eq!((concerned("a"), concerned("b")), (on_a, on_b), "{asked}");
        }
        one.ask("sub a").await;
        two.ask("sub *").await;
        // Events of one publisher on one channel arrive in order on every shard.
        for n in 0..50 {
            one.ask(&format!("pub x {n};pub a {n}")).await;
            assert_eq!(one.text().await, "pub: ok");
            assert_eq!(one.text().await, n.to_string());
        }
        for n in 0..50 {
            let expected = n.to_string();
            two.receives(&[&expected, &expected]).await;
        }
    });
}

#[test]
fn a_flood_of_events_keeps_its_order() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        bob.ask("sub a b.*").await;
        let said: Vec<String> = (0..2_000)
            .map(|n| format!("pub {} {n}", if n % 3 == 0 { "b.x" } else { "a" }))
            .collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let reading = tokio::task::spawn_local(async move {
            for n in 0..2_000 {
                bob.receives(&[&n.to_string()]).await;
            }
        });
        for some in said.chunks(100) {
            alice.say_all(some).await;
            for _ in some {
                alice.receives(&["pub: ok"]).await;
            }
        }
        reading.await.unwrap();
    });
}
