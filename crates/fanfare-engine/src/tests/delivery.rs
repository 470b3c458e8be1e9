//! The receivers of events, and their order.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use fanfare_core::{Audience, Channel, Event, Reach};

use super::world::{event, in_memory, in_world, settings, until};
use crate::DialectSettings;

fn reach(matched: u64, queued: u64) -> Reach {
    Reach {
        matched,
        queued,
        dropped: matched - queued,
    }
}

#[test]
fn an_event_reaches_each_connection_of_its_user_and_no_other() {
    in_world(settings(), |world| async move {
        let (mut first, mut second) = (world.connect("alice").await, world.connect("alice").await);
        let mut bob = world.connect("bob").await;
        assert_eq!(world.publish("alice", "t", "1").await.reach, reach(2, 2));
        assert_eq!(world.publish("nobody", "t", "2").await.reach, reach(0, 0));
        assert_eq!(world.publish("*", "t", "3").await.reach, reach(3, 3));
        for alice in [&mut first, &mut second] {
            assert_eq!((alice.text().await, alice.text().await), ("1".into(), "3".into()));
        }
        assert_eq!(bob.text().await, "3");
        assert_eq!(world.node.dialects[0].counters.sent.load(Relaxed), 5);
    });
}

#[test]
fn only_events_with_receivers_are_in_the_delivery_histogram() {
    in_world(settings(), |world| async move {
        let counters = &world.node.counters;
        let counts = || {
            (
                counters.delivery.snapshot().count(),
                counters.queue_wait.snapshot().count(),
            )
        };
        let nobody = Audience::Channel(Channel::new("nobody").unwrap());
        world
            .publish_all(vec![Event {
                audience: nobody,
                ..event("alice", "t", "1")
            }])
            .await;
        assert_eq!(counts(), (0, 0));
        // Her dialect does not render this event, although its shard delivers it.
        let mut alice = world.connect("alice").await;
        assert_eq!(world.publish("alice", "hidden", "2").await.reach, reach(0, 0));
        assert_eq!(counts(), (0, 1));
        assert_eq!(world.publish("alice", "t", "3").await.reach, reach(1, 1));
        assert_eq!(counts(), (1, 2));
        assert_eq!(alice.text().await, "3");
    });
}

#[test]
fn a_batch_keeps_its_order_however_its_audiences_alternate() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        let events = (0..500)
            .map(|n| event(["alice", "bob", "*"][n % 3], "t", &n.to_string()))
            .collect();
        let receipts = world.publish_all(events).await;
        assert!((0..500).all(|n| receipts[n].reach.queued == if n % 3 == 2 { 2 } else { 1 }));
        for n in 0..500 {
            if n % 3 != 1 {
                assert_eq!(alice.text().await, n.to_string());
            }
            if n % 3 != 0 {
                assert_eq!(bob.text().await, n.to_string());
            }
        }
    });
}

#[test]
fn a_run_for_one_audience_is_counted_event_by_event() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        let events = vec![
            event("alice", "t", "1"),
            event("alice", "hidden", "2"),
            event("alice", "t", "3"),
        ];
        let receipts = world.publish_all(events).await;
        assert_eq!(
            receipts
                .iter()
                .map(|receipt| receipt.reach.queued)
                .collect::<Vec<_>>(),
            [1, 0, 1]
        );
        assert_eq!((alice.text().await, alice.text().await), ("1".into(), "3".into()));
    });
}

#[test]
fn events_before_the_socket_is_attached_are_kept() {
    in_world(settings(), |world| async move {
        let guard = world.reserve("alice", Duration::from_secs(60)).await.unwrap();
        assert_eq!(world.publish("alice", "t", "1").await.reach, reach(1, 1));
        let (mut client, server, _) = in_memory();
        guard.serve(server, &[]);
        assert_eq!(client.text().await, "1");
    });
}

#[test]
fn a_slow_reader_receives_all_frames_whole_and_in_order() {
    let roomy = DialectSettings {
        send_queue: 10_000,
        send_queue_size: 1 << 30,
        ..settings()
    };
    in_world(roomy, |world| async move {
        let mut alice = world.connect("alice").await;
        let filler = "x".repeat(50_000);
        for n in 0..400 {
            assert_eq!(
                world
                    .publish("alice", "t", &format!("\"{n} {filler}\""))
                    .await
                    .reach,
                reach(1, 1)
            );
        }
        for n in 0..400 {
            assert_eq!(alice.text().await, format!("\"{n} {filler}\""));
        }
    });
}

#[test]
fn a_client_that_never_reads_is_ended_and_others_are_not_affected() {
    in_world(
        DialectSettings {
            send_queue: 16,
            ..settings()
        },
        |world| async move {
            let mut stuck = world.connect("alice").await;
            let mut well = world.connect("alice").await;
            let filler = format!("\"{}\"", "x".repeat(100_000));
            let mut published = 0;
            while world.publish("alice", "t", &filler).await.reach.dropped == 0 {
                published += 1;
                assert_eq!(well.text().await.len(), filler.len());
                assert!(published < 1000, "the queue has a limit");
            }
            well.text().await;
            // The bytes of the queue are also limited: 1 MiB is less than 16 messages.
            world.publish("alice", "t", "2").await;
            assert_eq!(well.text().await, "2");
            let mut taken = 0;
            while let Some((1, _)) = stuck.frame().await {
                taken += 1;
            }
            let counters = &world.node.dialects[0].counters;
            assert_eq!(counters.endings.all(), [("slow_consumer", 1)]);
            // The figures count the messages that the clients have received; the healthy client has all.
            let facts = world.node.dialect_facts(&world.node.dialects[0]);
            assert_eq!(facts.sent, taken + published + 2);
            assert_eq!(facts.sent + facts.failed, 2 * published + 3);
            drop(stuck);
            world.held(1).await;
        },
    );
}

#[test]
fn a_slow_consumer_gets_the_close_reason_when_it_reads_again() {
    in_world(
        DialectSettings {
            send_queue: 16,
            ..settings()
        },
        |world| async move {
            let mut stuck = world.connect("alice").await;
            let filler = format!("\"{}\"", "x".repeat(100_000));
            while world.publish("alice", "t", &filler).await.reach.dropped == 0 {}
            // It still writes, so that there are unread bytes when its connection is closed.
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                stuck.say("still here").await;
            }
            assert_eq!(world.shard.len(), 1, "the close frame waits for it");
            assert_eq!(stuck.close().await, (1008, "slow_consumer".into()));
            stuck.say("and after that").await;
            assert_eq!(stuck.frame().await, None);
            drop(stuck);
            world.held(0).await;
        },
    );
}

#[test]
fn many_answers_do_not_make_a_slow_consumer() {
    let roomy = DialectSettings {
        send_queue: 16,
        send_queue_size: 1 << 30,
        ..settings()
    };
    in_world(roomy, |world| async move {
        let mut alice = world.connect("alice").await;
        let filler = "x".repeat(900);
        // More than the socket takes while the client does not read, so that most of it waits when the event arrives.
        alice.say(&format!("many 20000 {filler}")).await;
        until(|| world.node.dialects[0].counters.sent.load(Relaxed) == 20_000).await;
        assert_eq!(world.publish("alice", "t", "1").await.reach, reach(1, 1));
        for n in 0..20_000 {
            assert_eq!(alice.text().await, format!("{n} {filler}"));
        }
        alice.receives(&["1"]).await;
    });
}
