//! Receipts and questions between nodes, on transports with and without counts.

use std::time::Duration;

use fanfare_core::{Audience, Broker, BrokerHealth, PublishOptions, Receipt};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::{
    test_hub::{Hub, TestNode, eventually, to, to_user},
    transport::Subject,
};

fn counts(receipt: Receipt) -> (u64, u32, bool) {
    (receipt.reach.queued, receipt.nodes, receipt.degraded)
}

async fn everyone(node: &TestNode) -> (u64, u32, bool) {
    counts(node.publish(to(Audience::Everyone, "1")).await)
}

/// Asks a question. Returns the number of answers, and whether all nodes answered.
async fn asked(node: &TestNode) -> (usize, bool) {
    let asked = node.broker.ask("q".into()).await;
    (asked.answers.len(), asked.complete)
}

#[tokio::test(start_paused = true)] // so that only waiting takes time, even on a busy machine
async fn receipts_and_questions_are_complete_with_and_without_counts() {
    for transport_counts in [true, false] {
        let hub = Hub::new(transport_counts);
        let [a, b, c] = hub.nodes(["a", "b", "c"]).await;
        b.hold("alice").await;
        c.hold("alice").await;
        for _ in 0..3 {
            assert_eq!(counts(a.publish(to_user("alice", "1")).await), (2, 2, false));
            assert_eq!(counts(b.publish(to_user("alice", "2")).await), (2, 2, false));
            assert_eq!(counts(a.publish(to_user("bob", "3")).await), (0, 0, false));
            assert_eq!(everyone(&a).await, (2, 3, false));
            assert_eq!(asked(&a).await, (3, true));
        }
        let events: Vec<_> = (0..2000).map(|_| to_user("alice", "4")).collect();
        let receipts = a.broker.publish(events, PublishOptions { receipt: true }).await;
        assert!(
            receipts
                .into_iter()
                .all(|receipt| counts(receipt) == (2, 2, false))
        );
        // A closed node is forgotten at once.
        c.broker.close().await;
        drop(c);
        let start = Instant::now();
        eventually("it is forgotten", async || asked(&a).await == (2, true)).await;
        assert_eq!(everyone(&a).await, (1, 2, false));
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "nothing waited for it"
        );
    }
}

#[tokio::test]
async fn a_node_is_connected_when_all_its_subscriptions_are_in_force_again() {
    let hub = Hub::new(true);
    let node = hub.node("a").await;
    node.hold("alice").await;
    let is_connected = async || matches!(node.broker.health().await, BrokerHealth::Connected { .. });
    hub.set_stalled(true);
    hub.set_cut("a", true);
    eventually("it is cut off", async || !is_connected().await).await;
    hub.set_cut("a", false);
    eventually("it receives again", async || hub.listens("a")).await;
    for _ in 0..50 {
        assert!(!is_connected().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.set_stalled(false);
    eventually("it is connected", is_connected).await;
}

/// A short loss of the node's connections, which the other nodes notice later or never.
#[tokio::test]
async fn a_receipt_is_degraded_before_a_missing_node_is_noticed() {
    let hub = Hub::new(true);
    let [a, b] = hub.nodes(["a", "b"]).await;
    b.hold("alice").await;
    assert_eq!(counts(a.publish(to_user("alice", "1")).await), (1, 1, false));
    hub.set_cut("b", true);
    assert_eq!(counts(a.publish(to_user("alice", "2")).await), (0, 0, true));
    hub.set_stalled(true);
    hub.set_cut("b", false);
    eventually("it subscribes again", async || hub.listens("b")).await;
    assert_eq!(counts(a.publish(to_user("alice", "3")).await), (0, 0, true));
    hub.set_stalled(false);
    eventually("it is there again", async || {
        counts(a.publish(to_user("alice", "4")).await) == (1, 1, false)
    })
    .await;
}

/// The server still counts a dead connection of a node that has reconnected, while another node is missing.
#[tokio::test]
async fn a_receipt_is_degraded_by_a_missing_node_although_another_counts_twice() {
    let hub = Hub::new(true);
    let [a, b, c] = hub.nodes(["a", "b", "c"]).await;
    hub.leave_half_open("b");
    b.hold("bob").await;
    eventually("it is back", async || {
        counts(a.publish(to_user("bob", "1")).await) == (1, 1, false)
    })
    .await;
    c.hold("carol").await;
    hub.set_cut("c", true);
    assert_eq!(counts(a.publish(to_user("carol", "2")).await), (0, 0, true));
    assert!(a.broker.figures().peers.contains(&("missing", 1)));
}

/// The nodes are counted after a batch: its first message may have met an earlier connection.
#[tokio::test]
async fn a_receipt_is_degraded_by_a_node_that_reconnects_before_the_count() {
    let hub = Hub::new(true);
    let [a, b] = hub.nodes(["a", "b"]).await;
    hub.set_deaf("a", true); // it receives no report of the loss
    hub.set_cut("b", true);
    hub.set_cut("b", false);
    eventually("it is back", async || !b.broker.figures().is_away).await;
    assert_eq!(counts(a.publish(to_user("alice", "1")).await), (0, 0, true));
}

/// A node delivers an event, and its reply is lost with its connection. On the next connection it answers a flush.
#[tokio::test(start_paused = true)]
async fn a_reply_that_is_lost_is_not_confirmed_by_the_next_connection() {
    let hub = Hub::new(false);
    let [a, b] = hub.nodes(["a", "b"]).await;
    b.hold("alice").await;
    hub.lose("b", br#"{"reach"#);
    let first = a.publish(to_user("alice", "1"));
    let second = async {
        eventually("its connection is lost", async || b.broker.figures().is_away).await;
        eventually("there is another", async || !b.broker.figures().is_away).await;
        a.publish(to_user("alice", "2")).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(b.inbound.seen(), ["1", "2"]);
    assert_eq!((counts(first), counts(second)), ((0, 0, true), (1, 1, false)));
}

#[tokio::test]
async fn a_renewal_waits_until_all_interests_are_subscribed_again() {
    let hub = Hub::new(true);
    let node = hub.node("a").await;
    node.hold("alice").await;
    assert!(node.broker.renewal().is_none());
    hub.set_stalled(true);
    hub.set_cut("a", true);
    eventually("the transport is away", async || {
        node.broker.figures().is_away && node.broker.renewal().is_none()
    })
    .await;
    hub.set_cut("a", false);
    eventually("it connects again", async || hub.listens("a")).await;
    let Some(mut renewal) = node.broker.renewal() else {
        panic!("nothing waits")
    };
    for _ in 0..50 {
        assert!((&mut renewal).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    hub.set_stalled(false);
    renewal.await;
    assert!(node.broker.renewal().is_none());
}

#[tokio::test]
async fn a_subscription_whose_connection_is_lost_waits_for_the_next_one() {
    let hub = Hub::new(true);
    let node = hub.node("a").await;
    hub.set_stalled(true);
    let mut subscribed = Box::pin(node.hold("bob"));
    assert!((&mut subscribed).now_or_never().is_none());
    hub.set_cut("a", true); // ends its connections
    hub.set_cut("a", false);
    eventually("all is subscribed to again", async || {
        node.broker.renewal().is_some()
    })
    .await;
    for _ in 0..50 {
        assert!((&mut subscribed).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    hub.set_stalled(false);
    subscribed.await;
    assert!(node.broker.renewal().is_none());
}

#[tokio::test]
async fn a_frozen_node_costs_one_wait_until_it_replies_again() {
    for transport_counts in [true, false] {
        let hub = Hub::new(transport_counts);
        let [a, b, c] = hub.nodes(["a", "b", "c"]).await;
        b.hold("alice").await;
        c.freeze(true);
        // The first requests wait for the frozen node.
        assert_eq!(everyone(&a).await, (1, 2, true));
        assert_eq!(asked(&a).await, (2, false));
        // Later ones do not.
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(everyone(&a).await, (1, 2, true));
            assert_eq!(asked(&a).await, (2, false));
        }
        let waited = start.elapsed();
        assert!(
            waited < Duration::from_secs(4),
            "40 waits would be 30 s, not {waited:?}"
        );
        c.freeze(false);
        eventually("it is waited for again", async || {
            everyone(&a).await == (1, 3, false)
        })
        .await;
        eventually("it answers again", async || asked(&a).await == (3, true)).await;
    }
}

#[tokio::test]
async fn a_node_that_died_is_given_up_and_receipts_are_degraded_until_then() {
    let hub = Hub::new(false);
    let [a, b, c] = hub.nodes(["a", "b", "c"]).await;
    b.hold("alice").await;
    drop(c);
    assert_eq!(everyone(&a).await, (1, 2, true));
    let start = Instant::now();
    eventually("it is given up", async || everyone(&a).await == (1, 2, false)).await;
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(3), "{waited:?}");
    assert_eq!(asked(&a).await, (2, true));
}

/// Returns whether a message belongs to an event. Reports and probes of nodes do not.
fn is_of_events(subject: &Subject, payload: &[u8]) -> bool {
    let of = |kinds: &[&[u8]]| kinds.iter().any(|kind| payload.starts_with(kind));
    match subject {
        Subject::Nodes | Subject::Node(_) => of(&[br#"{"reach"#, br#"{"flush"#, br#"{"declined"#]),
        _ => true,
    }
}

#[tokio::test]
async fn an_event_costs_one_message_and_its_replies() {
    for (transport_counts, expected) in [(true, 1 + 2), (false, 1 + 2 + 1 + 2)] {
        let hub = Hub::new(transport_counts);
        let [a, b, c] = hub.nodes(["a", "b", "c"]).await;
        b.hold("alice").await;
        c.hold("alice").await;
        a.publish(to_user("alice", "1")).await;
        hub.take_published(is_of_events);
        a.publish(to_user("alice", "2")).await;
        assert_eq!(hub.take_published(is_of_events), expected);
        // Without a receipt, one message.
        for _ in 0..10 {
            a.publish_without_receipt(to_user("alice", "3")).await;
            b.publish_without_receipt(to_user("alice", "4")).await;
        }
        for node in [&b, &c] {
            eventually("all arrive", async || node.inbound.seen().len() == 22).await;
        }
        assert_eq!(hub.take_published(is_of_events), 20);
    }
}

#[tokio::test]
async fn while_the_transport_is_away_a_node_delivers_to_itself() {
    for transport_counts in [true, false] {
        let hub = Hub::new(transport_counts);
        let [a, b] = hub.nodes(["a", "b"]).await;
        a.hold("alice").await;
        b.hold("alice").await;
        hub.set_away(true);
        for data in ["1", "2"] {
            assert_eq!(counts(a.publish(to_user("alice", data)).await), (1, 1, true));
        }
        assert!(a.publish_without_receipt(to_user("alice", "3")).await.degraded);
        assert!(a.publish_without_receipt(to_user("bob", "4")).await.degraded);
        hub.set_away(false);
        eventually("both receive", async || {
            counts(a.publish(to_user("alice", "5")).await) == (2, 2, false)
        })
        .await;
        let mut seen = a.inbound.seen();
        seen.dedup();
        assert_eq!(seen, ["1", "2", "3", "4", "5"]);
        hub.publish(Subject::Nodes, b"garbage");
        a.broker.broadcast("notice".into());
        eventually("it is received", async || b.inbound.notices() == ["notice"]).await;
    }
}

#[tokio::test]
async fn an_event_without_receipt_reaches_its_own_node_once_and_in_order() {
    for transport_counts in [true, false] {
        let hub = Hub::new(transport_counts);
        let [a, b] = hub.nodes(["a", "b"]).await;
        a.hold("alice").await;
        b.hold("alice").await;
        let mut degraded = 0;
        for number in 0..300 {
            // The connections are lost while events are in transit.
            if number % 50 == 25 {
                hub.set_away(true);
                hub.set_away(false);
            }
            let data = number.to_string();
            let receipt = match number % 3 {
                0 => a.publish(to_user("alice", &data)).await,
                _ => a.publish_without_receipt(to_user("alice", &data)).await,
            };
            degraded += usize::from(receipt.degraded);
            tokio::task::yield_now().await;
        }
        assert!(degraded > 0 && degraded < 300, "{degraded}");
        let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        eventually("all arrive", async || a.inbound.seen().len() >= 300).await;
        assert_eq!(a.inbound.seen(), expected);
    }
}
