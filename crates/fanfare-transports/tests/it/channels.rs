//! The laws of channels: subscriptions to one channel, and to all channels for nodes with patterns.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use fanfare_core::Interest;

use crate::{
    harness::{Cluster, LINGER, Node, RECEIPT, channel, eventually, to_channel},
    laws::receipt,
};

pub(crate) async fn a_channel_reaches_only_its_subscribers(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let (outsider, subscribers) = match &nodes[..] {
        [subscribers @ .., outsider] if !subscribers.is_empty() => (Some(outsider), subscribers),
        all => (None, all),
    };
    for node in subscribers {
        node.hold_interest(channel("project:1"), 2).await;
    }
    let count = u32::try_from(subscribers.len()).unwrap();
    for node in &nodes {
        let got = node.publish_one(to_channel("project:1", "1")).await;
        assert_eq!(got, receipt(2 * u64::from(count), count));
    }
    // Names are compared byte for byte.
    if outsider.is_some() {
        let got = nodes[0].publish_one(to_channel("project.1", "2")).await;
        assert_eq!(got, receipt(0, 0));
        assert!(outsider.is_none_or(|node| node.inbound.data().is_empty()));
        for node in subscribers {
            assert_eq!(node.inbound.data(), vec!["1"; nodes.len()]);
        }
    }
}

pub(crate) async fn an_event_on_any_channel_is_delivered_once(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let all = &nodes[0];
    for node in &nodes {
        node.hold_interest(channel("a.b"), 1).await;
    }
    all.hold_interest(Interest::AllChannels, 10).await;
    // Only this node wants the channel, and subscribes while it receives all channels.
    all.hold_interest(channel("later"), 1).await;
    let mut expected = Vec::new();
    let count = u32::try_from(nodes.len()).unwrap();
    for (number, node) in nodes.iter().enumerate() {
        for (name, queued, heard_by) in [
            ("a.b", 10 + u64::from(count), count),
            ("later", 11, 1),
            ("x:y.z", 10, 1),
            ("x:y", 10, 1),
        ] {
            // The only node of an embedded broker receives its own events.
            let data = format!("[{number},{name:?}]");
            let got = node.publish_one(to_channel(name, &data)).await;
            assert_eq!(got, receipt(queued, heard_by), "{data}");
            expected.push(data);
        }
    }
    assert_eq!(all.inbound.data(), expected);
    let on_a_b = expected.iter().filter(|data| data.contains("a.b")).cloned();
    let on_a_b: Vec<String> = on_a_b.collect();
    for node in &nodes[1..] {
        assert_eq!(node.inbound.data(), on_a_b);
    }
}

pub(crate) async fn channels_are_subscribed_and_unsubscribed(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let [node, .., other] = &nodes[..] else {
        // A single node receives all events that it publishes.
        return;
    };
    let heard = async |name| {
        let (by_other, by_itself) = (
            other.publish_one(to_channel(name, "1")).await,
            node.publish_one(to_channel(name, "1")).await,
        );
        assert_eq!(by_other, by_itself, "{name}");
        assert!(!by_other.degraded);
        (by_other.nodes, by_other.reach.queued)
    };
    node.hold_interest(channel("a"), 1).await;
    node.hold_interest(Interest::AllChannels, 1).await;
    node.hold_interest(channel("b"), 1).await;
    assert_eq!(
        (heard("a").await, heard("b").await, heard("c").await),
        ((1, 2), (1, 2), (1, 1))
    );
    node.release(Interest::AllChannels);
    let seen = node.inbound.data().len();
    for wait in [Duration::ZERO, 20 * LINGER] {
        // No event is delivered from now on, even if Redis sends some.
        tokio::time::sleep(wait).await;
        assert_eq!(
            (heard("a").await, heard("b").await, heard("c").await),
            ((1, 1), (1, 1), (0, 0))
        );
    }
    assert_eq!(node.inbound.data().len(), seen + 8);
    node.release(channel("a"));
    node.hold_interest(channel("c"), 1).await;
    // Only one publisher until then: the reach may change between two publishers.
    eventually("the node unsubscribes", async || {
        other.publish_one(to_channel("a", "1")).await.nodes == 0
    })
    .await;
    assert_eq!(
        (heard("a").await, heard("b").await, heard("c").await),
        ((0, 0), (1, 1), (1, 1))
    );
}

pub(crate) async fn order_is_kept_while_patterns_change(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let node = &nodes[0];
    node.hold_interest(channel("stream"), 1).await;
    let stop = AtomicBool::new(false);
    let publishers = nodes
        .iter()
        .enumerate()
        .map(|(publisher, node)| stream(publisher, node, &stop));
    let switches = async {
        for round in 0..150 {
            let all = node.broker.subscribe(Interest::AllChannels);
            // Other channels are subscribed and unsubscribed meanwhile.
            let other = channel(&format!("c{}", round % 3));
            node.broker.subscribe(other.clone()).await;
            all.await;
            if round % 2 == 0 {
                node.broker.unsubscribe(other.clone());
            }
            node.broker.unsubscribe(Interest::AllChannels);
            // Before, during or after the node unsubscribes from the pattern.
            tokio::time::sleep(LINGER / 2 * (round % 5)).await;
            node.broker.unsubscribe(other);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (counts, ()) = tokio::join!(futures_util::future::join_all(publishers), switches);
    let seen = node.inbound.data();
    for (publisher, count) in counts.into_iter().enumerate() {
        let prefix = format!("[{publisher},");
        let numbers = seen.iter().filter_map(|data| data.strip_prefix(&prefix));
        let numbers: Vec<u32> = numbers
            .map(|number| number.trim_end_matches(']').parse().unwrap())
            .collect();
        let expected: Vec<u32> = (0..count).collect();
        let difference = numbers
            .iter()
            .zip(&expected)
            .position(|(seen, sent)| seen != sent);
        assert_eq!((difference, numbers.len()), (None, expected.len()));
    }
}

/// Publishes numbers until `stop` is set. Returns their count.
async fn stream(publisher: usize, node: &Node, stop: &AtomicBool) -> u32 {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch = (next..next + 5).map(|number| to_channel("stream", &format!("[{publisher},{number}]")));
        let receipts = node.broker.publish(batch.collect(), RECEIPT).await;
        assert!(
            receipts.iter().all(|got| *got == receipt(1, 1)),
            "{publisher} {next} {receipts:?}"
        );
        next += 5;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    next
}
