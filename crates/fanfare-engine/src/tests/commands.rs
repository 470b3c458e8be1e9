//! The commands of clients and their answers.

use std::time::{Duration, Instant};

use fanfare_core::Audience;

use super::{
    plain::Plain,
    world::{Setup, in_world, rules, settings},
};
use crate::DialectSettings;

/// A user, a command, and its answer.
type Talk<'a> = &'a [(&'a str, &'a str)];

#[test]
fn every_command_is_answered() {
    let setup = Setup {
        policy: rules(&[
            ("staff.**", "role:staff", "role:staff"),
            ("news.**", "anyone", "nobody"),
        ]),
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob+staff").await);
        let cases: Talk<'_> = &[
            ("who", "who: alice"),
            ("sub a.b staff.x", "sub: ok forbidden"),
            ("sub a.b a.b", "sub: ok ok"),
            ("sub staff.x a.e staff.x a.e", "sub: forbidden ok forbidden ok"),
            ("unsub a.e", "unsub: ok"),
            ("sub-all a.c staff.x", "sub-all: forbidden"),
            ("sub-all a.c a.d", "sub-all: ok ok"),
            ("unsub a.c nothing staff.x", "unsub: ok"),
            ("sub user:alice notifications.user.bob", "sub: ok forbidden"),
            ("sub user:* **", "sub: ok ok"),
            ("unsub user:* **", "unsub: ok"),
            ("pub a.x 1", "pub: ok"),
            ("pub news.x 1", "pub: forbidden"),
            ("pub staff.x 1", "pub: forbidden"),
            ("pub-as reserved a.x 1", "pub-as: reserved_type"),
            ("pub-as other a.x 1", "pub-as: ok"),
            ("pub-all 1", "pub-all: forbidden"),
            ("pub-member project:1 1", "pub-member: not_member"),
            ("join project:1", "join: ok"),
            ("join project:1", "join: ok"),
            ("leave project:1", "leave: ok"),
            ("leave project:1", "leave: not_member"),
            ("leave a.b", "leave: not_member"),
            ("join staff.x", "join: forbidden"),
            ("direct nobody 1", "direct: not_connected"),
            ("direct bob 1", "direct: ok"),
            ("auth nonsense", "auth: bad_credential"),
            ("facts", "facts: 2 active"),
        ];
        for (asked, answer) in cases {
            assert_eq!(alice.ask(asked).await, *answer, "{asked}");
        }
        alice.receives_no_more().await;
        assert_eq!(bob.text().await, "1");
        assert_eq!(bob.ask("sub staff.x").await, "sub: ok");
        assert_eq!(bob.ask("pub staff.x 2").await, "pub: ok");
        assert_eq!(bob.text().await, "2");
    });
}

#[test]
fn only_a_message_to_a_user_needs_a_receipt() {
    in_world(settings(), |world| async move {
        let (mut alice, _bob) = (world.connect("alice").await, world.connect("bob").await);
        for asked in ["join project:1", "pub a.x 1", "direct bob 2", "leave project:1"] {
            alice.ask(asked).await;
        }
        let published = world.broker.published.lock().unwrap();
        let receipts = published
            .iter()
            .map(|(audience, receipt)| (matches!(audience, Audience::User(_)), *receipt));
        assert_eq!(receipts.collect::<Vec<_>>(), [(false, false), (true, true)]);
    });
}

#[test]
fn an_anonymous_client_and_a_user_without_rights_are_refused() {
    in_world(settings(), |world| async move {
        let (mut nobody, _alice) = (world.connect("").await, world.connect("alice").await);
        let cases: Talk<'_> = &[
            ("who", "who: nobody"),
            (
                "sub a.b messages messages.user.1 messaging",
                "sub: ok forbidden forbidden ok",
            ),
            ("sub project:1 user:alice user:*", "sub: forbidden forbidden ok"),
            ("join project:1", "join: forbidden"),
            ("join a.b", "join: forbidden"),
            ("leave project:1", "leave: not_member"),
            ("direct alice 1", "direct: forbidden"),
            ("pub messages.user.1 1", "pub: forbidden"),
            ("pub project:1 1", "pub: forbidden"),
            ("pub c.d 1", "pub: ok"),
        ];
        for (asked, answer) in cases {
            assert_eq!(nobody.ask(asked).await, *answer, "{asked}");
        }
    });
}

#[test]
fn subscriptions_are_limited() {
    let few = DialectSettings {
        max_subscriptions: 3,
        ..settings()
    };
    in_world(few, |world| async move {
        let mut alice = world.connect("alice").await;
        let cases: Talk<'_> = &[
            ("sub a b", "sub: ok ok"),
            ("sub-all c d", "sub-all: too_many_subscriptions"),
            (
                "sub a c b d user:alice",
                "sub: ok ok ok too_many_subscriptions too_many_subscriptions",
            ),
            ("join project:1", "join: too_many_subscriptions"),
            ("sub **", "sub: too_many_subscriptions"),
            ("unsub a", "unsub: ok"),
            ("sub-all a", "sub-all: ok"),
            ("unsub a b", "unsub: ok"),
            ("join project:1", "join: ok"),
            ("sub user:alice d", "sub: ok too_many_subscriptions"),
        ];
        for (asked, answer) in cases {
            assert_eq!(alice.ask(asked).await, *answer, "{asked}");
        }
        let heard: Vec<u64> = vec![
            world.publish_on("a", "1").await,
            world.publish_on("c", "1").await,
            world.publish_on("d", "1").await,
        ];
        assert_eq!(heard, [0, 1, 0]);
    });
}

#[test]
fn many_subscriptions_do_not_make_a_request_slower() {
    let roomy = DialectSettings {
        max_subscriptions: 1_000,
        max_message_size: 10_000,
        ..settings()
    };
    let setup = Setup {
        settings: roomy,
        dialects: vec![Plain::by_subscription()],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut few, mut many) = (world.connect("alice").await, world.connect("bob").await);
        for n in 0..10 {
            let patterns: Vec<_> = (0..100).map(|m| format!("a{n}.b{m}.**")).collect();
            many.ask(&format!("sub {}", patterns.join(" "))).await;
        }
        let mut took = [Duration::MAX; 2];
        for _ in 0..3 {
            for (best, client) in took.iter_mut().zip([&mut few, &mut many]) {
                let start = Instant::now();
                client.say_all(&["unsub x"; 100]).await;
                client.receives(&["unsub: ok"; 100]).await;
                *best = start.elapsed().min(*best);
            }
        }
        assert!(took[1] < took[0] * 50, "{took:?} without and with 1,000 patterns");
    });
}

#[test]
fn commands_in_one_read_run_in_order() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.say("sub a;pub a 1;unsub a;pub a 2;sub a").await;
        alice
            .receives(&["sub: ok", "pub: ok", "unsub: ok", "pub: ok", "sub: ok"])
            .await;
        // Both events come to a connection that subscribes to the channel at that moment, in their order.
        alice.receives(&["1", "2"]).await;
        alice.say_all(&["sub b;pub b 3", "pub b 4", "hello"]).await;
        alice
            .receives(&["sub: ok", "pub: ok", "pub: ok", "hello", "3", "4"])
            .await;
    });
}

#[test]
fn events_in_one_read_are_published_together() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice
            .say_all(&["sub b;pub b 1", "pub c 2", "pub b 3", "unsub c", "pub b 4"])
            .await;
        let answers = ["sub: ok", "pub: ok", "pub: ok", "pub: ok", "unsub: ok", "pub: ok"];
        alice.receives(&answers).await;
        alice.receives(&["1", "3", "4"]).await;
        assert_eq!(
            *world.broker.calls.lock().unwrap(),
            [3, 1],
            "an unsubscribe comes between"
        );
    });
}

#[test]
fn a_closed_connection_runs_no_command() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.say_all(&["end;sub a;join project:1;hello", "hello"]).await;
        assert_eq!(alice.close().await, (1000, "bye".into()));
        assert_eq!(world.publish_on("a", "1").await, 0);
        world.has_rooms(0).await;
    });
}

#[test]
fn a_timer_calls_its_conversation_once() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.say("timer 0;timer never;timer 1;one").await;
        alice.receives(&["one", "timer"]).await;
        alice.say("timer 3600000;timer 0;two").await;
        alice.receives(&["two", "timer"]).await;
        alice.say("timer 0;timer never").await;
        let mut bob = world.connect("bob").await;
        bob.say("timer 0").await;
        bob.receives(&["timer"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn a_client_over_its_rate_is_refused_and_its_messages_are_dropped() {
    let slow = DialectSettings {
        max_messages_per_second: 1,
        message_burst: 2,
        ..settings()
    };
    in_world(slow, |world| async move {
        let mut alice = world.connect("alice").await;
        alice.say_all(&["sub a", "two", "sub b", "four"]).await;
        alice.receives(&["sub: ok", "two", "limited", "limited"]).await;
        assert_eq!(
            (world.publish_on("a", "1").await, world.publish_on("b", "2").await),
            (1, 0)
        );
        alice.receives(&["1"]).await;
    });
}

#[test]
fn ticks_and_notices_are_sent_to_all_connections_of_a_dialect() {
    let ticking = Plain {
        ticks: Some(Duration::from_millis(100)),
        notice: Some("soon"),
        ..Plain::default()
    };
    let setup = Setup {
        dialects: vec![ticking, Plain::default()],
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (
            world.connect_on(0, "alice").await,
            world.connect_on(1, "bob").await,
        );
        let mut other = world.connect("carol").await;
        assert_eq!(other.ask("become").await, "become");
        let ticks = tokio::task::spawn_local(world.node.clone().tick(world.node.dialects[0].clone()));
        alice.receives(&["tick 1 of 2"]).await;
        bob.receives(&["tick 1 of 2", "tick 2 of 2"]).await;
        world.node.drain(Duration::ZERO);
        ticks.await.unwrap();
        for client in [&mut alice, &mut bob] {
            while client.text().await != "soon" {}
            assert_eq!(client.close().await, (1008, "shutting_down".into()));
        }
        assert_eq!(other.close().await, (1008, "shutting_down".into()));
    });
}

#[test]
fn a_connection_switches_to_the_dialect_of_its_client() {
    let heir = Plain {
        mark: "heir:",
        welcome: Some("welcome"),
        role: Some("staff"),
        ..Plain::by_subscription()
    };
    let setup = Setup {
        dialects: vec![Plain::default(), heir],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice+staff").await, world.connect("bob").await);
        let active = || {
            let of = |at: usize| world.node.dialect_facts(&world.node.dialects[at]);
            (of(0).active, of(1).active, of(0).users, of(1).users)
        };
        assert_eq!(active(), (2, 0, 2, 0));
        world.publish("alice", "t", "1").await;
        alice.say("become;sub user:alice").await;
        alice.receives(&["1", "welcome", "become", "sub: ok"]).await;
        assert_eq!(active(), (1, 1, 1, 1));
        world.publish("alice", "t", "2").await;
        world.publish("*", "t", "3").await; // this one subscribed to nothing of the kind
        assert_eq!(alice.text().await, "heir:2");
        alice.receives_no_more().await;
        // The other dialect requires a role.
        bob.say("become").await;
        bob.receives(&["3"]).await;
        assert_eq!(bob.close().await, (1008, "forbidden".into()));
    });
}
