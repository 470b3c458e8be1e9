//! The laws that every broker obeys.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use fanfare_core::{Audience, BrokerError, BrokerHealth, Channel, Event, Reach, Receipt, Sender, UserId};

use crate::harness::{Cluster, RECEIPT, channel, eventually, interest, raw, to, to_channel, to_user};

pub(crate) fn receipt(queued: u64, nodes: u32) -> Receipt {
    Receipt {
        reach: Reach {
            matched: queued,
            queued,
            dropped: 0,
        },
        nodes,
        ..Receipt::default()
    }
}

pub(crate) async fn one_publisher_keeps_its_order(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for node in &nodes {
        node.hold("alice", 1).await;
    }
    let publishers = nodes.iter().enumerate().map(|(publisher, node)| async move {
        for round in 0..50 {
            let batch = (0..20).map(|index| {
                let data = format!("[{publisher},{}]", round * 20 + index);
                to_user("alice", &data)
            });
            node.broker.publish(batch.collect(), RECEIPT).await;
        }
    });
    futures_util::future::join_all(publishers).await;
    for node in &nodes {
        // Receipts do not wait for a node that has replied late. On a busy machine its events arrive later.
        eventually("all events have arrived", async || {
            node.inbound.data().len() >= nodes.len() * 1000
        })
        .await;
        let seen = node.inbound.data();
        assert_eq!(seen.len(), nodes.len() * 1000);
        for publisher in 0..nodes.len() {
            let prefix = format!("[{publisher},");
            let numbers: Vec<u32> = seen
                .iter()
                .filter_map(|data| data.strip_prefix(&prefix)?.strip_suffix(']')?.parse().ok())
                .collect();
            assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        }
    }
    // All nodes received in one order. NATS keeps only the order of each publisher.
    let has_one_order = !matches!(cluster, Cluster::Nats(_));
    for node in nodes.iter().filter(|_| has_one_order) {
        assert_eq!(node.inbound.data(), nodes[0].inbound.data());
    }
}

pub(crate) async fn a_publication_arrives_unchanged(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let id = "a:b \u{1f3ba}\"\\";
    for node in &nodes {
        node.hold(id, 1).await;
        node.hold_interest(channel("a:b.c"), 1).await;
    }
    let data = [
        r#"{"z":1,"a":1.10,"big":123456789012345678901234567890,"s":"\u00e9\ud83d","w" : [ ]}"#,
        "null",
        "\"line\\nbreak \u{2028} \u{1f3ba}\"",
    ];
    let mut events = Vec::new();
    for data in data {
        let mut event = to_user(id, data);
        event.kind = None;
        event.sender = Some(Box::new(Sender {
            username: Some("sen\"der \u{1f3ba}".into()),
            connection: Some(event.id),
            ..*Sender::new("7")
        }));
        event.metadata = Some(raw(r#"{"b" : 1.10, "b":"\u00e9"}"#));
        event.private_to = Some([UserId::new(id).unwrap(), UserId::new("7").unwrap()].into());
        event.readers_of = Channel::new("project:9").ok();
        event.except = Some(event.id);
        event.timestamp = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_001);
        for audience in [
            event.audience.clone(),
            Audience::Everyone,
            to_channel("a:b.c", data).audience,
        ] {
            events.push(Event {
                audience: audience.clone(),
                ..event.clone()
            });
            events.push(to(audience, data));
        }
    }
    nodes[0].broker.publish(events.clone(), RECEIPT).await;
    for node in &nodes {
        let seen = node.inbound.delivered();
        assert_eq!(seen.len(), events.len());
        for (seen, sent) in seen.iter().zip(&events) {
            assert_eq!(seen.data, sent.data);
            assert_eq!(
                (seen.id, &seen.kind, &seen.sender),
                (sent.id, &sent.kind, &sent.sender)
            );
            assert_eq!(seen.audience, sent.audience);
            assert_eq!(
                (&seen.metadata, &seen.private_to, &seen.readers_of, seen.except),
                (&sent.metadata, &sent.private_to, &sent.readers_of, sent.except)
            );
            let lost = sent.timestamp.duration_since(seen.timestamp).unwrap();
            assert!(lost < Duration::from_millis(1), "milliseconds survive");
        }
    }
}

pub(crate) async fn receipts_count_connections_and_nodes(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let mut connections = 0;
    for (number, node) in (1..).zip(&nodes) {
        node.hold("alice", number).await;
        connections += number;
    }
    let count = u32::try_from(nodes.len()).unwrap();
    for node in &nodes {
        let got = node.publish_one(to_user("alice", "1")).await;
        assert_eq!(got, receipt(connections, count));
    }
}

pub(crate) async fn a_receipt_for_each_event(cluster: &Cluster) {
    let node = cluster.node("a").await;
    assert_eq!(node.broker.publish(Vec::new(), RECEIPT).await, []);
    node.hold("alice", 2).await;
    let channel = Audience::Channel(Channel::new("a.b").unwrap());
    let events = vec![
        to_user("alice", "1"),
        to(channel, "2"),
        to(Audience::Everyone, "3"),
        to_user("alice", "4"),
    ];
    let receipts = node.broker.publish(events, RECEIPT).await;
    let queued: Vec<u64> = receipts.iter().map(|receipt| receipt.reach.queued).collect();
    assert_eq!(queued, [2, 0, 2, 2]);
    assert!(receipts.iter().all(|receipt| !receipt.degraded));
    let many = (0..5000).map(|number| to_user("alice", &number.to_string()));
    let receipts = node.broker.publish(many.collect(), RECEIPT).await;
    assert_eq!(receipts, [receipt(2, 1)].repeat(5000));
}

pub(crate) async fn everyone_reaches_every_node(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for node in &nodes {
        let receipt = node.publish_one(to(Audience::Everyone, "1")).await;
        assert_eq!(receipt.nodes, u32::try_from(nodes.len()).unwrap());
    }
    for node in &nodes {
        assert_eq!(node.inbound.data().len(), nodes.len());
    }
}

pub(crate) async fn a_subscription_is_in_force_when_it_resolves(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let publisher = nodes.last().unwrap();
    for number in 0..100 {
        let user = format!("user{number}");
        nodes[0].hold(&user, 1).await;
        let receipt = publisher.publish_one(to_user(&user, "1")).await;
        assert_eq!(receipt.reach.queued, 1, "{user}");
    }
}

pub(crate) async fn a_renewed_subscription_is_in_force(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let broker = &nodes[0].broker;
    for number in 0..50 {
        let user = format!("user{number}");
        // Changes take effect in the order of calls, in whichever order the futures are polled.
        let first = broker.subscribe(interest(&user));
        broker.unsubscribe(interest(&user));
        nodes[0].hold(&user, 1).await;
        first.await;
        let receipt = nodes.last().unwrap().publish_one(to_user(&user, "1")).await;
        assert_eq!(receipt.reach.queued, 1, "{user}");
    }
}

pub(crate) async fn only_subscribers_receive(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    nodes[0].hold("alice", 1).await;
    nodes.last().unwrap().publish_one(to_user("alice", "1")).await;
    // A later event has arrived.
    nodes[0].publish_one(to(Audience::Everyone, "2")).await;
    assert_eq!(nodes[0].inbound.data(), ["1", "2"]);
    for other in &nodes[1..] {
        assert_eq!(other.inbound.data(), ["2"]);
    }
}

pub(crate) async fn no_event_is_delivered_after_unsubscribing(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let [node, other, ..] = &nodes[..] else {
        // A single node receives all events that it publishes; there is no subscription to end.
        return;
    };
    node.hold("alice", 1).await;
    node.broker.unsubscribe(interest("alice"));
    eventually("nobody hears", async || {
        other.publish_one(to_user("alice", "1")).await.nodes == 0
    })
    .await;
}

pub(crate) async fn health_is_good(cluster: &Cluster) {
    let node = cluster.node("a").await;
    match (cluster, node.broker.health().await) {
        (Cluster::Memory, BrokerHealth::Embedded) => {}
        (_, BrokerHealth::Connected { round_trip }) => {
            assert!(round_trip > Duration::ZERO);
        }
        (_, other) => panic!("{other:?}"),
    }
}

pub(crate) async fn probes_travel_through_the_server(cluster: &Cluster) {
    let node = cluster.node("a").await;
    assert!(node.broker.probe().await.unwrap() > Duration::ZERO);
    node.inbound.sick.store(true, Ordering::SeqCst);
    assert_eq!(node.broker.probe().await, Err(BrokerError::TimedOut));
    node.inbound.sick.store(false, Ordering::SeqCst);
    assert!(node.broker.probe().await.is_ok());
    assert_eq!(node.inbound.data(), [] as [&str; 0], "nobody notices");
}
