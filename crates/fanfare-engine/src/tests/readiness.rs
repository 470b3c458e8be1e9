//! Streams that are not ready, or ready for few bytes.

use fanfare_core::UserId;

use super::world::{event, in_world, settings, until};
use crate::DialectSettings;

#[test]
fn bytes_that_a_stream_does_not_take_are_written_when_it_is_ready() {
    for room in [1, 3, 7, 100] {
        in_world(settings(), |world| async move {
            let (mut alice, control) = world.connect_controlled("alice").await;
            control.hold_for_client(room);
            for n in 0..20 {
                let receipt = world.publish("alice", "t", &n.to_string()).await;
                assert_eq!(receipt.reach.queued, 1, "{room} bytes: event {n}");
            }
            assert_eq!(control.unread(), room.min(20 * 3 + 10));
            for n in 0..20 {
                assert_eq!(alice.text().await, n.to_string(), "{room} bytes at once");
            }
            alice.receives_no_more().await;
        });
    }
}

#[test]
fn a_run_of_events_is_cut_anywhere_and_stays_whole() {
    for room in 1..40 {
        in_world(settings(), |world| async move {
            let (mut alice, control) = world.connect_controlled("alice").await;
            control.hold_for_client(room);
            let events = (0..10).map(|n| event("alice", "t", &format!("\"event {n}\"")));
            let receipts = world.publish_all(events.collect()).await;
            assert!(receipts.iter().all(|receipt| receipt.reach.queued == 1));
            for n in 0..10 {
                assert_eq!(
                    alice.text().await,
                    format!("\"event {n}\""),
                    "{room} bytes at once"
                );
            }
        });
    }
}

#[test]
fn a_partly_written_event_is_completed_before_the_connection_ends() {
    for room in 1..7 {
        let small = DialectSettings {
            send_queue: 2,
            ..settings()
        };
        in_world(small, |world| async move {
            let (mut alice, control) = world.connect_controlled("alice").await;
            control.hold_for_client(room);
            let mut reaches = Vec::new();
            for _ in 0..4 {
                reaches.push(world.publish("alice", "t", "\"event\"").await.reach);
            }
            let taken = |reach: &fanfare_core::Reach| reach.queued;
            assert_eq!(reaches.iter().map(taken).collect::<Vec<_>>(), [1, 1, 0, 0]);
            assert_eq!(alice.text().await, "\"event\"", "{room} bytes");
            assert_eq!(alice.close().await, (1008, "slow_consumer".into()));
        });
    }
}

#[test]
fn a_stream_that_becomes_unready_and_ready_again_loses_nothing() {
    in_world(settings(), |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        for n in 0..50 {
            // In turns: not ready at all, ready for a part of a frame, ready.
            control.hold_for_client([0, 2, 1000][n % 3]);
            let receipt = world.publish("alice", "t", &n.to_string()).await;
            assert_eq!(receipt.reach.queued, 1);
            alice.say(&format!("answer {n}")).await;
        }
        control.hold_for_client(1000);
        let (mut events, mut answers) = (0, 0);
        while events + answers < 100 {
            let text = alice.text().await;
            let (number, counter) = match text.strip_prefix("answer ") {
                Some(number) => (number, &mut answers),
                None => (&*text, &mut events),
            };
            assert_eq!(number, counter.to_string());
            *counter += 1;
        }
    });
}

#[test]
fn messages_arrive_byte_by_byte() {
    in_world(settings(), |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        control.read_in_chunks(1);
        alice.say_all(&["one", "sub a.b", "two"]).await;
        alice.receives(&["one", "sub: ok", "two"]).await;
    });
}

#[test]
fn a_client_whose_answers_wait_is_not_read_from() {
    let small = DialectSettings {
        send_queue_size: 4_000,
        ..settings()
    };
    in_world(small, |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        control.hold_for_client(10);
        let long = "x".repeat(400);
        for _ in 0..20 {
            alice.say(&long).await;
        }
        let received = || {
            world.node.dialects[0]
                .counters
                .received
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        until(|| received() > 0).await;
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert!(received() < 6, "{} were read", received());
        assert_eq!(world.node.connections_of(&UserId::new("alice").unwrap()), 1);
        for _ in 0..20 {
            assert_eq!(alice.text().await, long);
        }
    });
}
