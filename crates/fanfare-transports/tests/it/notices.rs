//! The laws of notices to every node.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use fanfare_core::MAX_NOTICES;
use fanfare_transports::BrokerKind;

use crate::{
    away::{is_away, numbers, two_nodes},
    harness::{Cluster, Node, eventually},
};

pub(crate) async fn notices_reach_every_node_once_and_in_order(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let publishers = nodes.iter().enumerate().map(|(publisher, node)| async move {
        for number in 0..1000 {
            let notice = format!("{publisher}:{number}");
            node.broker.broadcast(Bytes::from(notice.clone()));
            assert!(node.inbound.notices().contains(&notice), "at once");
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    futures_util::future::join_all(publishers).await;
    for node in &nodes {
        eventually("all notices arrive", async || {
            node.inbound.notices().len() >= nodes.len() * 1000
        })
        .await;
    }
    for node in &nodes {
        let notices = node.inbound.notices();
        assert_eq!(notices.len(), nodes.len() * 1000);
        for publisher in 0..nodes.len() {
            let prefix = format!("{publisher}:");
            let notices = notices.iter().filter_map(|notice| notice.strip_prefix(&prefix));
            assert!(notices.eq(numbers(0..1000)));
        }
    }
}

pub(crate) async fn a_panic_in_a_handler_affects_no_other_notice(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for notice in ["1", "panic", "2"] {
        nodes[0].broker.broadcast(Bytes::from_static(notice.as_bytes()));
    }
    for node in &nodes {
        eventually("the next notice arrives", async || {
            node.inbound.notices() == ["1", "2"]
        })
        .await;
    }
}

fn broadcast(node: &Node, range: std::ops::Range<u32>) {
    for notice in numbers(range) {
        node.broker.broadcast(notice.into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_published_during_an_outage_are_repeated() {
    let (mut server, node, other) = two_nodes().await;
    broadcast(&node, 0..10);
    eventually("the notices arrive", async || other.inbound.notices().len() == 10).await;
    server.kill();
    eventually("the outage is detected", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    broadcast(&node, 10..1500);
    assert_eq!(node.inbound.notices(), numbers(0..1500), "at once");
    assert_eq!(other.inbound.notices().len(), 10);
    // This node never received from the others, and subscribes in time.
    let late = Node::open(BrokerKind::Redis, &server.url(), "late");
    broadcast(&node, 1500..1600);
    server.restart();
    eventually("all is repeated", async || {
        other.inbound.notices().len() >= 1600 && late.inbound.notices().len() >= 100
    })
    .await;
    broadcast(&node, 1600..1601);
    eventually("new notices arrive", async || {
        let last = Some("1600".to_owned());
        other.inbound.notices().last() == last.as_ref() && late.inbound.notices().last() == last.as_ref()
    })
    .await;
    assert_eq!(node.inbound.notices(), numbers(0..1601));
    assert_eq!(other.inbound.notices(), numbers(0..1601));
    let notices = late.inbound.notices();
    assert!(numbers(0..1601).ends_with(&notices), "no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_of_too_many_notices_are_repeated() {
    let (mut server, node, other) = two_nodes().await;
    server.kill();
    eventually("the outage is detected", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    let last = u32::try_from(MAX_NOTICES).unwrap() + 5;
    broadcast(&node, 0..last);
    server.restart();
    eventually("repeated", async || other.inbound.notices().len() >= MAX_NOTICES).await;
    assert_eq!(other.inbound.notices(), numbers(5..last));
}

/// Both nodes broadcast numbers continuously, with a disturbance in the middle. Each node must receive each number once, in order.
async fn once_in_order(nodes: [&Node; 2], disturb: impl AsyncFnOnce()) {
    let stop = AtomicBool::new(false);
    let publish = |prefix: &'static str, node: &Node| {
        let (broker, stop) = (node.broker.clone(), &stop);
        async move {
            for number in 0u32.. {
                broker.broadcast(format!("{prefix}{number}").into());
                if stop.load(Ordering::Relaxed) {
                    return number + 1;
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            0
        }
    };
    let disturbance = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        disturb().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (first, second, ()) = tokio::join!(publish("a", nodes[0]), publish("b", nodes[1]), disturbance);
    let all = (first + second) as usize;
    for node in nodes {
        eventually("all notices arrive", async || node.inbound.notices().len() >= all).await;
    }
    // A repeated notice would arrive now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for node in nodes {
        let notices = node.inbound.notices();
        assert_eq!(notices.len(), all);
        for (prefix, count) in [("a", first), ("b", second)] {
            let notices = notices.iter().filter_map(|notice| notice.strip_prefix(prefix));
            assert!(notices.eq(numbers(0..count)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notice_is_lost_or_repeated_when_redis_is_killed() {
    let (mut server, node, other) = two_nodes().await;
    once_in_order([&node, &other], async || {
        for _ in 0..3 {
            server.kill();
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.restart();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notice_is_lost_or_repeated_when_connections_are_cut() {
    for kind in ["pubsub", "normal"] {
        let (server, node, other) = two_nodes().await;
        once_in_order([&node, &other], async || {
            for _ in 0..6 {
                server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
                tokio::time::sleep(Duration::from_millis(120)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notice_is_lost_or_repeated_when_redis_hangs() {
    let (server, node, other) = two_nodes().await;
    once_in_order([&node, &other], async || {
        server.signal("-STOP");
        eventually("the outage is detected", async || is_away(&node).await).await;
        server.signal("-CONT");
        node.ready().await;
    })
    .await;
}
