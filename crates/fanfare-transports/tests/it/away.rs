//! Redis dies, hangs and comes back: the node's own connections lose no event, and no event arrives twice.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fanfare_core::{Audience, BrokerError, BrokerHealth, Interest, Receipt};
use fanfare_transports::BrokerKind;

use crate::{
    failover::receipts_are_true,
    harness::{Node, RECEIPT, channel, eventually, interest, to, to_channel, to_user},
    proxy::Proxy,
    server::RedisServer,
};

pub(crate) async fn two_nodes() -> (RedisServer, Node, Node) {
    let server = RedisServer::start();
    let (first, second) = (server.node("a").await, server.node("b").await);
    (server, first, second)
}

pub(crate) async fn is_away(node: &Node) -> bool {
    matches!(node.broker.health().await, BrokerHealth::Disconnected { .. })
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_delivered_again_after_redis_is_killed() {
    let (mut server, node, other) = two_nodes().await;
    node.hold("alice", 1).await;
    other.hold("bob", 1).await;
    assert!(!node.publish_one(to_user("alice", "0")).await.degraded);

    server.kill();
    for number in 1..20 {
        let receipt = node.publish_one(to_user("alice", &number.to_string())).await;
        let local = (receipt.reach.queued, receipt.nodes, receipt.degraded);
        assert_eq!(local, (1, 1, true));
    }
    let receipt = node.publish_one(to(Audience::Everyone, "20")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (1, true));
    assert_eq!(node.inbound.data(), numbers(0..21));
    assert!(is_away(&node).await);
    assert_eq!(node.broker.probe().await, Err(BrokerError::Away));
    // Resolves at once, and is sent when Redis is back.
    other.hold("carol", 1).await;
    // The pauses between attempts grow meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let back = server.restart();
    for user in ["bob", "carol"] {
        eventually("the other node receives again", async || {
            let receipt = node.publish_one(to_user(user, "\"back\"")).await;
            receipt.reach.queued == 1 && !receipt.degraded
        })
        .await;
    }
    let resumed = back.elapsed();
    eprintln!("first delivery between nodes {resumed:?} after Redis was back");
    assert!(resumed < Duration::from_secs(2), "{resumed:?}");
    node.ready().await;
    assert!(node.broker.probe().await.is_ok());
    let receipt = node.publish_one(to_user("alice", "21")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
    let mut seen = node.inbound.data();
    seen.retain(|data| data != "\"back\"");
    assert_eq!(seen, numbers(0..22));
}

/// Returns the kinds of audiences, each with the interest of a node that receives it.
pub(crate) fn audiences() -> [(Audience, Interest); 3] {
    let (alice, room) = (to_user("alice", "0").audience, to_channel("room", "0").audience);
    [
        (alice, interest("alice")),
        (room.clone(), channel("room")),
        (room, Interest::AllChannels),
    ]
}

/// Publishes numbers continuously, with a disturbance in the middle. Each must arrive once, in order.
pub(crate) async fn once_in_order(
    node: &Node,
    audience: Audience,
    disturb: impl AsyncFnOnce(),
) -> Vec<Receipt> {
    let stop = AtomicBool::new(false);
    let publish = async {
        let mut receipts = Vec::new();
        loop {
            let next = u32::try_from(receipts.len()).unwrap();
            let batch = (next..next + 10).map(|number| to(audience.clone(), &number.to_string()));
            receipts.extend(node.broker.publish(batch.collect(), RECEIPT).await);
            if stop.load(Ordering::Relaxed) {
                return receipts;
            }
        }
    };
    let disturbance = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        disturb().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (receipts, ()) = tokio::join!(publish, disturbance);
    // A late event would arrive now.
    node.publish_one(to(Audience::Everyone, "\"end\"")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut expected = numbers(0..u32::try_from(receipts.len()).unwrap());
    expected.push("\"end\"".to_owned());
    let seen = node.inbound.data();
    let difference = seen
        .iter()
        .zip(&expected)
        .position(|(seen, expected)| seen != expected);
    assert_eq!((difference, seen.len()), (None, expected.len()));
    assert!(receipts.iter().all(|receipt| receipt.reach.queued == 1));
    receipts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_repeated_when_redis_is_killed() {
    for (audience, interest) in audiences() {
        let (mut server, node, other) = two_nodes().await;
        node.hold_interest(interest, 1).await;
        let receipts = once_in_order(&node, audience, async || {
            server.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.restart();
            node.ready().await;
            other.ready().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        })
        .await;
        assert!(receipts.iter().any(|receipt| receipt.degraded));
        assert!(!receipts[0].degraded && !receipts[receipts.len() - 1].degraded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_repeated_when_a_connection_is_cut() {
    for kind in ["pubsub", "normal"] {
        for (audience, interest) in audiences() {
            let (server, node, _other) = two_nodes().await;
            node.hold_interest(interest, 1).await;
            once_in_order(&node, audience, async || {
                for _ in 0..5 {
                    server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
                node.ready().await;
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_repeated_when_a_connection_is_cut_while_patterns_change() {
    for kind in ["pubsub", "normal"] {
        let (server, node, _other) = two_nodes().await;
        node.hold_interest(channel("room"), 1).await;
        let audience = to_channel("room", "0").audience;
        once_in_order(&node, audience, async || {
            for wait in [0, 1, 2, 5, 150].repeat(2) {
                let in_force = node.broker.subscribe(Interest::AllChannels);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
                in_force.await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                // The next connection subscribes only to the channel.
                node.broker.unsubscribe(Interest::AllChannels);
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"]);
                node.ready().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_work_locally_without_redis_and_everywhere_when_it_is_back() {
    let (mut server, node, other) = two_nodes().await;
    server.kill();
    eventually("the outage is detected", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    node.hold_interest(channel("a"), 1).await;
    node.hold_interest(channel("gone"), 1).await;
    other.hold_interest(Interest::AllChannels, 1).await;
    node.release(channel("gone"));
    for (publisher, name, queued) in [
        (&node, "a", 1),
        (&node, "gone", 0),
        (&node, "b", 0),
        (&other, "a", 1),
        (&other, "b", 1),
    ] {
        let receipt = publisher.publish_one(to_channel(name, "\"away\"")).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (queued, true), "{name}");
    }
    let (seen, seen_by_other) = (node.inbound.data(), other.inbound.data());
    server.restart();
    for (name, queued, nodes) in [("a", 2, 2), ("gone", 1, 1), ("b", 1, 1)] {
        for publisher in [&node, &other] {
            eventually("both are back", async || {
                let receipt = publisher.publish_one(to_channel(name, "\"back\"")).await;
                (receipt.reach.queued, receipt.nodes, receipt.degraded) == (queued, nodes, false)
            })
            .await;
        }
    }
    // Events of the outage are not delivered again.
    for (node, seen) in [(&node, seen), (&other, seen_by_other)] {
        let mut all = node.inbound.data();
        all.retain(|data| data == "\"away\"");
        assert_eq!(all, seen);
    }
}

/// Until the other node receives again, receipts must be degraded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_not_reconnected_counts_as_missing() {
    let (mut server, node, other) = two_nodes().await;
    // There are many, so that the subscriptions take some time.
    let users: Vec<String> = (0..5000).map(|number| format!("user{number}")).collect();
    let held = users.iter().map(|user| other.hold(user, 1));
    futures_util::future::join_all(held).await;
    for _ in 0..3 {
        server.kill();
        eventually("both detect the outage", async || {
            is_away(&node).await && is_away(&other).await
        })
        .await;
        server.restart();
        let mut whole = 0;
        let mut missed = 0;
        eventually("all are reached again", async || {
            for user in users.iter().step_by(500) {
                let receipt = node.publish_one(to_user(user, "1")).await;
                assert!(
                    receipt.reach.queued == 1 || receipt.degraded,
                    "{user} {receipt:?}"
                );
                let is_whole = receipt.reach.queued == 1 && !receipt.degraded;
                whole = if is_whole { whole + 1 } else { 0 };
                missed += u32::from(receipt.reach.queued == 0);
            }
            whole >= 10
        })
        .await;
        eprintln!("{missed} not delivered, each with a degraded receipt");
    }
}

/// Redis and the publishing node keep their connections: the node has detected nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_true_while_the_other_node_reconnects() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let nodes = [server.url(), proxy.url_to(&server.url())];
    let nodes = ["a", "b"].map(|id| Node::open(BrokerKind::Redis, &nodes[usize::from(id == "b")], id));
    for node in &nodes {
        node.ready().await;
    }
    receipts_are_true(&nodes, async || {
        for _ in 0..10 {
            proxy.set_open(false);
            eventually("it is cut off", async || is_away(&nodes[1]).await).await;
            proxy.set_open(true);
            eventually("it is back", async || !is_away(&nodes[1]).await).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_detected() {
    let (server, node, _other) = two_nodes().await;
    check_a_hang_is_detected(&node, |signal| server.signal(signal)).await;
}

/// Stops and continues the server of `node` by signals.
pub(crate) async fn check_a_hang_is_detected(node: &Node, signal: impl Fn(&str)) {
    node.hold("alice", 1).await;
    let audience = to_user("alice", "0").audience;
    once_in_order(node, audience, async || {
        signal("-STOP");
        let start = Instant::now();
        eventually("the outage is detected", async || is_away(node).await).await;
        eprintln!("a server that hangs was noticed after {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        signal("-CONT");
        node.ready().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_redis() {
    let mut server = RedisServer::start();
    server.kill();
    let node = Node::open(BrokerKind::Redis, &server.url(), "a");
    node.hold("alice", 1).await;
    let receipt = node.publish_one(to_user("alice", "1")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, true));
    server.restart();
    eventually("it connects", async || {
        !node.publish_one(to_user("alice", "2")).await.degraded
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_users_are_subscribed_again_after_an_outage() {
    let (mut server, node, other) = two_nodes().await;
    let users: u32 = std::env::var("FANFARE_TEST_USERS").map_or(20_000, |count| count.parse().unwrap());
    let start = Instant::now();
    let subscriptions = (0..users).map(|number| node.broker.subscribe(interest(&number.to_string())));
    futures_util::future::join_all(subscriptions.collect::<Vec<_>>()).await;
    eprintln!("{users} users subscribed in {:?}", start.elapsed());
    server.kill();
    let back = server.restart();
    let mut last = 0;
    eventually("all events arrive again", async || {
        while last < users {
            let receipt = other.publish_one(to_user(&last.to_string(), "1")).await;
            if receipt.nodes == 0 || receipt.degraded {
                return false;
            }
            last += users / 100;
        }
        true
    })
    .await;
    eprintln!(
        "{users} users heard again {:?} after Redis was back",
        back.elapsed()
    );
}
