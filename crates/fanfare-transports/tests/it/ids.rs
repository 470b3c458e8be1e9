//! The laws of remembered ids.

use std::time::Duration;

use fanfare_core::{CLAIM_LIFETIME, Claim, Event, Reach, Receipt, RememberedIds, UNPUBLISHED_LIFETIME};
use futures_util::FutureExt;
use uuid::Uuid;

use crate::{
    away::{is_away, two_nodes},
    harness::{Cluster, Node, RECEIPT, eventually, to_channel},
};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn receipt(queued: u64) -> Receipt {
    Receipt {
        reach: Reach {
            matched: queued + 2,
            queued,
            dropped: 2,
        },
        nodes: 3,
        degraded: queued % 2 == 1,
        is_duplicate: false,
    }
}

fn published(queued: u64) -> Claim {
    Claim::Published(Some(receipt(queued)))
}

async fn claim(node: &Node, number: u128) -> Claim {
    let claims = node.broker.claim(vec![id(number)]).await;
    assert_eq!(claims.len(), 1);
    claims[0]
}

async fn record(node: &Node, number: u128, queued: u64) {
    node.broker.record(vec![(id(number), receipt(queued))]).await;
}

pub(crate) async fn an_id_is_new_once(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let (first, last) = (&nodes[0], nodes.last().unwrap());
    assert_eq!(claim(first, 1).await, Claim::New);
    for node in &nodes {
        assert_eq!(claim(node, 1).await, Claim::Taken);
    }
    record(first, 1, 7).await;
    for node in &nodes {
        assert_eq!(claim(node, 1).await, published(7));
    }
    // A released id is new again on all nodes.
    assert_eq!(claim(last, 2).await, Claim::New);
    assert_eq!(claim(first, 2).await, Claim::Taken);
    last.broker.release(vec![id(2)]).await;
    assert_eq!(claim(first, 2).await, Claim::New);
    assert_eq!(claim(last, 2).await, Claim::Taken);
    // The receipt of an id that was never claimed is not remembered.
    record(first, 3, 7).await;
    assert_eq!(claim(last, 3).await, Claim::New);
}

pub(crate) async fn one_of_many_callers_claims_an_id(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let claims = (0..10 * nodes.len()).map(|at| {
        let broker = nodes[at % nodes.len()].broker.clone();
        // In different orders.
        let mut ids: Vec<Uuid> = (0..500).map(id).collect();
        ids.rotate_left(at * 37 % 500);
        tokio::spawn(async move {
            let claims = broker.claim(ids.clone()).await;
            let new = ids
                .into_iter()
                .zip(claims)
                .filter(|(_, claim)| *claim == Claim::New);
            new.map(|(id, _)| id.as_u128()).collect::<Vec<_>>()
        })
    });
    let claims = futures_util::future::join_all(claims).await;
    let mut new: Vec<u128> = claims.into_iter().flat_map(Result::unwrap).collect();
    new.sort_unstable();
    assert!(new.into_iter().eq(0..500), "each is new once");
}

pub(crate) async fn receipts_are_stored_unchanged(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let receipts = [Receipt::default(), receipt(0), receipt(1), receipt(4_000_000_000)];
    let ids = (0..).map(id).take(receipts.len()).collect::<Vec<_>>();
    assert_eq!(nodes[0].broker.claim(ids.clone()).await, [Claim::New; 4]);
    let record = ids.iter().copied().zip(receipts);
    nodes[0].broker.record(record.collect()).await;
    for node in &nodes {
        let claims = node.broker.claim(ids.clone()).await;
        assert_eq!(claims, receipts.map(|receipt| Claim::Published(Some(receipt))));
    }
}

pub(crate) async fn a_node_counts_the_ids_that_it_remembers(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    let claims = nodes[0].broker.claim((0..3).map(id).collect()).await;
    assert_eq!(claims, [Claim::New; 3]);
    nodes[0].broker.release(vec![id(0)]).await;
    let expected = RememberedIds { held: 2, evicted: 0 };
    assert_eq!(nodes[0].broker.remembered_ids(), expected);
}

pub(crate) async fn many_ids_in_one_call(cluster: &Cluster) {
    let nodes = cluster.nodes().await;
    assert_eq!(nodes[0].broker.claim(Vec::new()).await, []);
    // An id that is twice in one call is new the first time.
    let claims = nodes[0].broker.claim(vec![id(7), id(7), id(8)]).await;
    assert_eq!(claims, [Claim::New, Claim::Taken, Claim::New]);
    let claims = nodes
        .last()
        .unwrap()
        .broker
        .claim((0..2000).map(id).collect())
        .await;
    let taken = claims
        .iter()
        .enumerate()
        .filter(|(_, claim)| **claim != Claim::New);
    assert_eq!(taken.map(|(at, _)| at).collect::<Vec<_>>(), [7, 8]);
    nodes[0].broker.release((0..2000).map(id).collect()).await;
    nodes
        .last()
        .unwrap()
        .broker
        .release((0..2000).map(id).collect())
        .await;
    let claims = nodes[0].broker.claim((0..2000).map(id).collect()).await;
    assert!(claims.iter().all(|claim| *claim == Claim::New));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_remembered_for_ten_minutes() {
    let (server, node, other) = two_nodes().await;
    let key = format!("fanfare:id:{}", id(1).simple());
    let assert_left = |lifetime: Duration| {
        let redis::Value::Int(left) = server.command(&["PTTL", &key]) else {
            panic!("no number");
        };
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap();
        assert!(left <= lifetime && left > lifetime - 20_000, "{left}");
    };
    assert_eq!(claim(&node, 1).await, Claim::New);
    assert_left(UNPUBLISHED_LIFETIME);
    record(&node, 1, 7).await;
    assert_left(CLAIM_LIFETIME);
    assert_eq!(claim(&other, 1).await, published(7));
    assert_left(CLAIM_LIFETIME);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_dead_node_expires() {
    let (server, node, other) = two_nodes().await;
    assert_eq!(claim(&node, 1).await, Claim::New);
    assert_eq!(claim(&other, 1).await, Claim::Taken);
    drop(node);
    server.command(&["PEXPIRE", &format!("fanfare:id:{}", id(1).simple()), "1"]); // that while
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(claim(&other, 1).await, Claim::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_a_dead_node_published_are_remembered() {
    let (server, node, other) = two_nodes().await;
    assert_eq!(claim(&node, 1).await, Claim::New);
    assert_eq!(claim(&other, 1).await, Claim::Taken);
    let event = Event {
        id: id(1),
        named: true,
        ..to_channel("scores", "1")
    };
    node.broker.publish(vec![event], RECEIPT).await;
    let noted = Claim::Published(None);
    eventually("it is noted", async || claim(&other, 1).await == noted).await;
    let left = server.command(&["PTTL", &format!("fanfare:id:{}", id(1).simple())]);
    assert!(
        matches!(left, redis::Value::Int(left) if left > 500_000),
        "{left:?}"
    );
    // A live node stores the receipt, which counts then.
    record(&node, 1, 7).await;
    for node in [&node, &other] {
        assert_eq!(claim(node, 1).await, published(7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_a_dropped_caller_are_released() {
    let (server, node, other) = two_nodes().await;
    server.signal("-STOP");
    assert!(node.broker.claim(vec![id(1)]).now_or_never().is_none());
    server.signal("-CONT");
    // Claimed first, then released.
    eventually("it is new", async || claim(&other, 1).await == Claim::New).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_node_uses_its_own_memory() {
    let (mut server, node, other) = two_nodes().await;
    for number in [1, 2, 3] {
        assert_eq!(claim(&node, number).await, Claim::New);
    }
    record(&node, 1, 1).await;
    assert_eq!(claim(&other, 1).await, published(1));
    assert_eq!(claim(&other, 2).await, Claim::Taken);
    server.kill();
    // Before and after the node detects the outage.
    assert_eq!(claim(&node, 1).await, published(1));
    eventually("the outage is detected", async || {
        is_away(&node).await && is_away(&other).await
    })
    .await;
    record(&node, 2, 2).await;
    node.broker.release(vec![id(3)]).await;
    for (at, number, expected) in [
        (&node, 1, published(1)),
        (&node, 2, published(2)),
        (&node, 3, Claim::New),
        (&node, 4, Claim::New),
        (&node, 4, Claim::Taken),
        (&other, 1, published(1)),
        (&other, 2, Claim::Taken),
        // An id that the node does not know.
        (&other, 4, Claim::New),
    ] {
        assert_eq!(claim(at, number).await, expected, "{number}");
    }
    server.restart();
    node.ready().await;
    other.ready().await;
    // Redis has lost all ids. This node has not, and tells the others.
    for (at, number, expected) in [
        (&node, 1, published(1)),
        (&node, 2, published(2)),
        (&node, 4, Claim::Taken),
        (&other, 1, published(1)),
        (&other, 2, published(2)),
        (&other, 5, Claim::New),
        (&node, 5, Claim::Taken),
    ] {
        assert_eq!(claim(at, number).await, expected, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_local_caller_claims_an_id_while_redis_restarts() {
    let (mut server, node, _other) = two_nodes().await;
    let claims = (0..4).map(|_| {
        let broker = node.broker.clone();
        tokio::spawn(async move {
            let mut new = Vec::new();
            for round in 0..300 {
                let ids: Vec<Uuid> = (round * 10..round * 10 + 10).map(id).collect();
                let claims = broker.claim(ids.clone()).await;
                let claimed = ids
                    .into_iter()
                    .zip(claims)
                    .filter(|(_, claim)| *claim == Claim::New);
                new.extend(claimed.map(|(id, _)| id.as_u128()));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            new
        })
    });
    let claims = claims.collect::<Vec<_>>();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.restart();
    }
    let claims = futures_util::future::join_all(claims).await;
    let mut new: Vec<u128> = claims.into_iter().flat_map(Result::unwrap).collect();
    new.sort_unstable();
    assert!(new.into_iter().eq(0..3000), "each is new once");
}
