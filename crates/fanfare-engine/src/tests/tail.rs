//! Tails: bounded live copies of published events.

use tokio::time::Instant;

use super::world::{Setup, event, in_world, on, settings, until};
use crate::{ObserveLimits, Subject};

#[test]
fn a_tail_has_the_events_of_its_subjects_in_order() {
    in_world(settings(), |world| async move {
        let mut alice = world.connect("alice").await;
        alice.receives_no_more().await;
        let subjects = vec![
            Subject::user("nobody").unwrap(),
            Subject::channel("chat.*").unwrap(),
            Subject::Everyone,
        ];
        let tail = world.node.tail(subjects).await.unwrap();
        assert_eq!(world.broker.interests().len(), 3, "alice's, and what is watched");
        let events = vec![
            event("nobody", "t", "1"),
            event("alice", "t", "2"),
            on("chat.a", "3"),
            on("news.a", "4"),
            event("*", "t", "5"),
        ];
        let receipts = world.publish_all(events).await;
        let matched: Vec<u64> = receipts.iter().map(|receipt| receipt.reach.matched).collect();
        assert_eq!(matched, [0, 1, 0, 0, 1], "a tail is no receiver");
        for expected in ["1", "3", "5"] {
            let next = tail.next().await;
            assert_eq!((next.event.data.as_str(), next.lost), (expected, 0));
        }
        alice.receives(&["2", "5"]).await;
        assert_eq!(
            (world.node.observe_figures().tails, world.node.users().len()),
            (1, 1)
        );
        drop(tail);
        assert_eq!(world.node.observe_figures().tails, 0);
        until(|| world.broker.interests().len() == 1).await;
        assert!(!world.node.observers.is_watching());
    });
}

#[test]
fn a_slow_reader_of_a_tail_gets_the_number_of_lost_events() {
    for (tail_queue, tail_queue_size) in [(3, 1 << 20), (1000, 30)] {
        let setup = Setup {
            observe: ObserveLimits {
                tail_queue,
                tail_queue_size,
                max_tails: 1,
                ..ObserveLimits::default()
            },
            ..Setup::default()
        };
        setup.run(|world| async move {
            let tail = world.node.tail(vec![Subject::Everyone]).await.unwrap();
            assert!(world.node.tail(vec![Subject::Everyone]).await.is_err());
            let text = |n: usize| format!("\"eight {n}\"");
            for n in 0..8 {
                world.publish("*", "t", &text(n)).await;
            }
            for n in 0..3 {
                let next = tail.next().await;
                assert_eq!((next.event.data.as_str(), next.lost), (&*text(n), 0));
            }
            world.publish("*", "t", "9").await;
            let next = tail.next().await;
            assert_eq!((next.event.data.as_str(), next.lost), ("9", 5));
            let figures = world.node.observe_figures();
            assert_eq!((figures.tail_events_lost, figures.tails_refused), (5, 1));
        });
    }
}

#[test]
fn a_tail_limits_its_events_per_second() {
    let setup = Setup {
        observe: ObserveLimits {
            tail_queue: 30,
            max_tail_events_per_second: 10,
            ..ObserveLimits::default()
        },
        ..Setup::default()
    };
    setup.run(|world| async move {
        let tail = world.node.tail(vec![Subject::Everyone]).await.unwrap();
        for n in 0..40 {
            world.publish("*", "t", &n.to_string()).await;
        }
        let begun = Instant::now();
        for _ in 0..30 {
            assert_eq!(tail.next().await.lost, 0);
        }
        let took = begun.elapsed();
        assert!((2500..3100).contains(&took.as_millis()), "{took:?}");
        assert_eq!(world.node.observe_figures().tail_events_lost, 10);
        world.publish("*", "t", "40").await;
        assert_eq!(tail.next().await.lost, 10);
    });
}
