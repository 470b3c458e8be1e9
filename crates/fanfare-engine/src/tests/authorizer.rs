//! A slow authorizer.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::{Channel, Event, UserId};

use super::{
    fakes::FakeAuthorizer,
    world::{Setup, World, on, until},
};

#[test]
fn only_the_connection_that_asks_the_authorizer_waits() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        alice.say_all(&["sub a.b a.secret *.*", "hello"]).await;
        until(|| authorizer.asked().len() == 2).await;
        assert_eq!(
            world.publish_on("a.b", "1").await,
            0,
            "it hears nothing before it is answered"
        );
        assert_eq!(bob.ask("hello").await, "hello");
        assert_eq!(world.waiting(), 1);
        authorizer.gate.open();
        alice.receives(&["sub: ok forbidden ok", "hello"]).await;
        assert_eq!(world.publish_on("a.b", "2").await, 1);
        alice.receives(&["2"]).await;
    });
}

#[test]
fn commands_wait_for_the_authorizer_in_order() {
    for (asked, answer) in [
        ("sub-all a.b a.c", "sub-all: ok ok"),
        ("sub-all a.b a.secret", "sub-all: forbidden"),
        ("join project:1", "join: ok"),
        ("join project:secret", "join: forbidden"),
        ("pub a.b 1", "pub: ok"),
        ("pub a.secret 1", "pub: forbidden"),
    ] {
        let authorizer = FakeAuthorizer::new(false);
        Setup::asking(&authorizer).run(|world| async move {
            let mut alice = world.connect("alice").await;
            alice.say_all(&[asked, "hello"]).await;
            until(|| !authorizer.asked().is_empty()).await;
            assert_eq!(world.waiting(), 1, "{asked}");
            authorizer.gate.open();
            alice.receives(&[answer, "hello"]).await;
            assert_eq!(alice.ask("unsub a.b a.c").await, "unsub: ok");
        });
    }
}

#[test]
fn events_of_a_pattern_wait_for_the_authorizer_in_order() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        assert_eq!(alice.ask("sub *.*").await, "sub: ok");
        for n in ["1", "2", "3"] {
            assert_eq!(world.publish_on("a.b", n).await, 0);
            assert_eq!(world.publish_on("a.secret", n).await, 0);
        }
        alice.receives_no_more().await;
        authorizer.gate.open();
        alice.receives(&["1", "2", "3"]).await;
        // Now the answer is stored.
        assert_eq!(
            (
                world.publish_on("a.b", "4").await,
                world.publish_on("a.secret", "4").await
            ),
            (1, 0)
        );
        alice.receives(&["4"]).await;
        assert_eq!(authorizer.asked().len(), 2, "each is asked about once");
        // It is asked again once the answer has expired.
        authorizer.forget();
        assert_eq!(world.publish_on("a.b", "5").await, 0);
        alice.receives(&["5"]).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn the_authorizer_is_not_asked_about_subscriptions_over_the_limit() {
    let authorizer = FakeAuthorizer::new(true);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        let many: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
        let answer = alice.ask(&format!("sub {}", many.join(" "))).await;
        assert_eq!(answer.matches("ok").count(), 10);
        assert_eq!(authorizer.asked().len(), 10);
    });
}

#[test]
fn all_events_of_a_batch_wait_for_the_authorizer() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        alice.ask("sub *.*").await;
        world
            .publish_all((0..100).map(|n| on("a.b", &n.to_string())).collect())
            .await;
        let mixed = |n: usize| on(["a.b", "a.c"][n % 2], &n.to_string());
        world.publish_all((100..104).map(mixed).collect()).await;
        authorizer.gate.open();
        let mut heard = Vec::new();
        while heard.len() < 104 {
            heard.push(alice.text().await.parse::<usize>().unwrap());
        }
        let (of_c, of_b): (Vec<_>, Vec<_>) = heard.into_iter().partition(|n| [101, 103].contains(n));
        assert_eq!(of_c, [101, 103]);
        assert_eq!(of_b, (0..101).chain([102]).collect::<Vec<_>>());
    });
}

#[test]
fn the_events_that_wait_for_the_authorizer_are_limited() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        alice.ask("sub *.*").await;
        for n in 0..300 {
            world.publish_on("a.b", &n.to_string()).await;
        }
        authorizer.gate.open();
        for n in 0..256 {
            alice.receives(&[&n.to_string()]).await;
        }
        alice.receives_no_more().await;
        assert_eq!(world.node.dialects[0].counters.dropped.load(Relaxed), 44);
    });
}

#[test]
fn private_events_stay_private_while_they_wait_for_the_authorizer() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        alice.ask("sub *.*").await;
        bob.ask("sub *.*").await;
        let private = Event {
            private_to: Some([UserId::new("alice").unwrap()].into()),
            ..on("messages.a", "1")
        };
        world.publish_all(vec![private]).await;
        world.publish_on("messages.a", "2").await;
        authorizer.gate.open();
        alice.receives(&["1", "2"]).await;
        bob.receives(&["2"]).await;
    });
}

/// Returns an event about a message in `place`, published on `messages`.
fn told_of(place: &str, data: &str) -> Event {
    Event {
        private_to: Some([UserId::new("carol").unwrap()].into()),
        readers_of: Channel::new(place).ok(),
        ..on("messages", data)
    }
}

#[test]
fn an_announcement_waits_for_the_authorizers_answer_about_its_room() {
    let authorizer = FakeAuthorizer::new(true);
    Setup::asking(&authorizer).run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        assert_eq!(alice.ask("sub messages").await, "sub: ok");
        assert_eq!(bob.ask("sub **").await, "sub: ok");
        authorizer.gate.shut();
        let events = [
            told_of("project:1", "1"),
            told_of("project:secret", "2"),
            told_of("task:1", "3"),
        ];
        for event in events {
            world.publish_all(vec![event]).await;
        }
        world.publish_on("messages", "4").await; // behind the others, although alice may receive it
        alice.receives_no_more().await;
        authorizer.gate.open();
        for client in [&mut alice, &mut bob] {
            client.receives(&["1", "3", "4"]).await;
        }
        let asked = authorizer.asked();
        let about = |name: &str| asked.iter().filter(|asked| *asked == name).count();
        assert_eq!(
            ["project:1", "project:secret", "task:1"].map(about),
            [2; 3],
            "{asked:?}"
        );
        // All answers are stored.
        world
            .publish_all(vec![told_of("project:secret", "5"), told_of("project:1", "6")])
            .await;
        world.publish_on("messages", "7").await;
        for client in [&mut alice, &mut bob] {
            client.receives(&["6", "7"]).await;
            client.receives_no_more().await;
        }
    });
}

#[test]
fn events_about_a_room_on_another_channel_need_the_right_to_read_both() {
    let authorizer = FakeAuthorizer::new(true);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        let asked =
            "sub messages.channel.project:1 messages.channel.project:secret messages.channel.user:bob";
        assert_eq!(alice.ask(asked).await, "sub: ok forbidden forbidden");
        assert_eq!(alice.ask("pub messages.channel.project:1 1").await, "pub: ok");
        alice.receives(&["1"]).await;
        assert_eq!(
            alice.ask("pub messages.channel.user:alice 1").await,
            "pub: forbidden"
        );
        let asked = authorizer.asked();
        let rooms = asked.iter().filter(|asked| *asked == "project:1").count();
        assert_eq!(rooms, 2, "to subscribe, and to publish: {asked:?}");
    });
}

/// Makes `1` on `a.b` wait for the authorizer's answer about `alice`.
async fn undecided(world: &World) -> super::client::Client {
    let mut alice = world.connect("alice").await;
    alice.ask("sub *.*").await;
    world.publish_on("a.b", "1").await;
    alice
}

#[test]
fn later_events_do_not_overtake_those_that_wait_for_an_answer() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = undecided(&world).await;
        authorizer.learn("alice", "a.b");
        assert_eq!(world.publish_on("a.b", "2").await, 0);
        authorizer.gate.open();
        alice.receives(&["1", "2"]).await;
        assert_eq!(world.publish_on("a.b", "3").await, 1);
        alice.receives(&["3"]).await;
    });
}

#[test]
fn an_event_that_waited_is_not_delivered_after_an_unsubscribe() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = undecided(&world).await;
        assert_eq!(alice.ask("unsub *.*").await, "unsub: ok");
        let gone = undecided(&world).await;
        drop(gone);
        world.held(1).await;
        authorizer.gate.open();
        until(|| world.shard.undecided.borrow().is_empty()).await;
        alice.receives_no_more().await;
    });
}

#[test]
fn a_connection_that_is_lost_while_it_waits_holds_nothing() {
    for asked in [
        "sub a.b",
        "join project:1",
        "pub a.b 1",
        "sub a.b;join project:1;pub a.b 1",
    ] {
        let authorizer = FakeAuthorizer::new(false);
        Setup::asking(&authorizer).run(|world| async move {
            let mut alice = world.connect("alice").await;
            alice.say(asked).await;
            until(|| !authorizer.asked().is_empty()).await;
        });
    }
}

#[test]
fn a_drain_ends_a_connection_that_waits() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        alice.say_all(&["sub a.b;before", "after"]).await;
        bob.say_all(&["join project:1;before", "after"]).await;
        until(|| authorizer.asked().len() == 2).await;
        world.node.drain(Duration::ZERO);
        for client in [&mut alice, &mut bob] {
            client.receives(&["before"]).await;
            assert_eq!(client.close().await, (1008, "shutting_down".into()));
        }
        authorizer.gate.open();
    });
}
