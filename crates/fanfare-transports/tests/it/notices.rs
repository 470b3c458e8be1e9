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

pub(crate) async fn all_are_told_once_and_in_order(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let tellers = nodes.iter().enumerate().map(|(teller, node)| async move {
        for number in 0..1000 {
            let notice = format!("{teller}:{number}");
            node.broker.broadcast(Bytes::from(notice.clone()));
            assert!(node.inbound.told().contains(&notice), "at once");
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    futures_util::future::join_all(tellers).await;
    for node in &nodes {
        eventually("all are told", async || {
            node.inbound.told().len() >= nodes.len() * 1000
        })
        .await;
    }
    for node in &nodes {
        let told = node.inbound.told();
        assert_eq!(told.len(), nodes.len() * 1000);
        for teller in 0..nodes.len() {
            let prefix = format!("{teller}:");
            let told = told.iter().filter_map(|notice| notice.strip_prefix(&prefix));
            assert!(told.eq(numbers(0..1000)));
        }
    }
}

pub(crate) async fn a_panic_in_hearing_harms_nobody(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    for notice in ["1", "panic", "2"] {
        nodes[0].broker.broadcast(Bytes::from_static(notice.as_bytes()));
    }
    for node in &nodes {
        eventually("the next is heard", async || node.inbound.told() == ["1", "2"]).await;
    }
}

fn tell(node: &Node, range: std::ops::Range<u32>) {
    for notice in numbers(range) {
        node.broker.broadcast(notice.into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_while_redis_is_away_is_repeated() {
    let (mut server, node, other) = two_nodes().await;
    tell(&node, 0..10);
    eventually("told", async || other.inbound.told().len() == 10).await;
    server.kill();
    eventually("it is noticed", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    tell(&node, 10..1500);
    assert_eq!(node.inbound.told(), numbers(0..1500), "at once");
    assert_eq!(other.inbound.told().len(), 10);
    // It has never heard of the others, but was there in time.
    let late = Node::open(BrokerKind::Redis, &server.url(), "late");
    tell(&node, 1500..1600);
    server.restart();
    eventually("all is repeated", async || {
        other.inbound.told().len() >= 1600 && late.inbound.told().len() >= 100
    })
    .await;
    tell(&node, 1600..1601);
    eventually("it goes on", async || {
        let last = Some("1600".to_owned());
        other.inbound.told().last() == last.as_ref() && late.inbound.told().last() == last.as_ref()
    })
    .await;
    assert_eq!(node.inbound.told(), numbers(0..1601));
    assert_eq!(other.inbound.told(), numbers(0..1601));
    let told = late.inbound.told();
    assert!(numbers(0..1601).ends_with(&told), "no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_notices_the_latest_are_repeated() {
    let (mut server, node, other) = two_nodes().await;
    server.kill();
    eventually("it is noticed", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    let last = u32::try_from(MAX_NOTICES).unwrap() + 5;
    tell(&node, 0..last);
    server.restart();
    eventually("repeated", async || other.inbound.told().len() >= MAX_NOTICES).await;
    assert_eq!(other.inbound.told(), numbers(5..last));
}

/// Both nodes tell numbers all the time, with a disturbance in the middle; each must hear each once, in order.
async fn once_in_order(nodes: [&Node; 2], disturb: impl AsyncFnOnce()) {
    let stop = AtomicBool::new(false);
    let tell = |prefix: &'static str, node: &Node| {
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
    let (first, second, ()) = tokio::join!(tell("a", nodes[0]), tell("b", nodes[1]), disturbance);
    let all = (first + second) as usize;
    for node in nodes {
        eventually("all are told", async || node.inbound.told().len() >= all).await;
    }
    // What is doubled would come now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for node in nodes {
        let told = node.inbound.told();
        assert_eq!(told.len(), all);
        for (prefix, count) in [("a", first), ("b", second)] {
            let told = told.iter().filter_map(|notice| notice.strip_prefix(prefix));
            assert!(told.eq(numbers(0..count)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_told_is_lost_or_doubled_when_redis_is_killed() {
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
async fn nothing_told_is_lost_or_doubled_when_connections_are_cut() {
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
async fn nothing_told_is_lost_or_doubled_when_redis_hangs() {
    let (server, node, other) = two_nodes().await;
    once_in_order([&node, &other], async || {
        server.signal("-STOP");
        eventually("it is noticed", async || is_away(&node).await).await;
        server.signal("-CONT");
        node.ready().await;
    })
    .await;
}
