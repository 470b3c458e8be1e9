//! A master that dies or is replaced behind Sentinels: no event is lost without a degraded receipt, and no event arrives twice.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fanfare_core::{BrokerHealth, Claim};
use fanfare_transports::{BrokerKind, BrokerOptions};
use redis::Value;
use uuid::Uuid;

use crate::{
    away::{is_away, once_in_order},
    groups::{SentinelGroup, text, wait},
    harness::{Node, eventually, to_user},
    rooms::RoomNode,
};

/// The time within which a node must detect an outage, and reconnect once there is a master again.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) async fn two_nodes(options: &BrokerOptions) -> [Node; 2] {
    let nodes = ["a", "b"].map(|name| Node::open_by(BrokerKind::Redis, options, name));
    for node in &nodes {
        node.ready().await;
    }
    nodes
}

/// Publishes numbers to a user of the other node, with a disturbance in the middle. An event with a good receipt must arrive once, and an
/// event that does not arrive must have a degraded receipt.
pub(crate) async fn receipts_are_true([first, second]: &[Node; 2], disturb: impl AsyncFnOnce()) {
    second.hold("bob", 1).await;
    let stop = AtomicBool::new(false);
    let publish = async {
        let mut receipts = Vec::new();
        loop {
            let is_last = stop.load(Ordering::Relaxed);
            receipts.push(
                first
                    .publish_one(to_user("bob", &receipts.len().to_string()))
                    .await,
            );
            if is_last {
                return receipts;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let disturbance = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        disturb().await;
        eventually("the nodes reach each other", async || {
            let receipt = first.publish_one(to_user("bob", "\"end\"")).await;
            receipt.reach.queued == 1 && !receipt.degraded
        })
        .await;
        stop.store(true, Ordering::Relaxed);
    };
    let (receipts, ()) = tokio::join!(publish, disturbance);
    let mut arrived: HashMap<String, u32> = HashMap::new();
    for data in second.inbound.data() {
        *arrived.entry(data).or_default() += 1;
    }
    let mut missing = 0;
    for (number, receipt) in receipts.iter().enumerate() {
        let count = arrived.get(&number.to_string()).copied().unwrap_or(0);
        let is_true = receipt.degraded || receipt.reach.queued == 1;
        assert!(
            is_true && count <= 1,
            "{number}: {receipt:?}, arrived {count} times"
        );
        assert!(u64::from(count) >= receipt.reach.queued, "{number}: {receipt:?}");
        missing += 1 - count;
    }
    let degraded = receipts.iter().filter(|receipt| receipt.degraded).count();
    eprintln!(
        "of {} events {degraded} had degraded receipts, {missing} did not arrive",
        receipts.len()
    );
    let last = &receipts[receipts.len() - 1];
    assert!(
        !receipts[0].degraded && !last.degraded,
        "{:?} {last:?}",
        receipts[0]
    );
}

/// Waits until both nodes have detected the outage, and then until both are connected again.
pub(crate) async fn away_and_back(nodes: &[Node; 2]) {
    let start = Instant::now();
    for node in nodes {
        eventually("the outage is detected", async || is_away(node).await).await;
    }
    eprintln!("noticed after {:?}", start.elapsed());
    assert!(start.elapsed() < SOON);
    for node in nodes {
        node.ready().await;
    }
    eprintln!("back after {:?}", start.elapsed());
}

pub(crate) async fn id_is_new_once([first, second]: &[Node; 2]) {
    let id = Uuid::new_v4();
    assert_eq!(first.broker.claim(vec![id]).await, [Claim::New]);
    assert_eq!(second.broker.claim(vec![id]).await, [Claim::Taken]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_sentinels_when_the_master_dies() {
    let mut group = SentinelGroup::start();
    let nodes = two_nodes(&group.options()).await;
    receipts_are_true(&nodes, async || {
        group.servers[0].kill();
        away_and_back(&nodes).await;
    })
    .await;
    assert_eq!(group.named_port(), group.servers[1].port());
    id_is_new_once(&nodes).await;
    // A node that starts later finds the new master.
    let later = Node::open_by(BrokerKind::Redis, &group.options(), "c");
    later.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_events_are_delivered_once_while_the_master_changes() {
    let mut group = SentinelGroup::start();
    let nodes = two_nodes(&group.options()).await;
    nodes[0].hold("alice", 1).await;
    let receipts = once_in_order(&nodes[0], to_user("alice", "0").audience, async || {
        group.servers[0].kill();
        away_and_back(&nodes).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    assert!(receipts.iter().any(|receipt| receipt.degraded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_leave_a_replaced_master_that_hung() {
    let group = SentinelGroup::start();
    let nodes = two_nodes(&group.options()).await;
    receipts_are_true(&nodes, async || {
        group.servers[0].signal("-STOP");
        away_and_back(&nodes).await;
        group.servers[0].signal("-CONT");
        wait("it follows its successor", || {
            text(&group.servers[0], &["INFO", "replication"]).contains("role:slave")
        });
    })
    .await;
    id_is_new_once(&nodes).await;
}

/// The Sentinels cannot reach the former master, which still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_leave_a_replaced_master_that_is_alive() {
    let group = SentinelGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let channels = |server: usize| text(&group.servers[server], &["INFO", "clients"]);
    let has_listeners = |server| !channels(server).contains("pubsub_clients:0");
    let counted =
        |server: usize| match group.servers[server].command(&["PUBSUB", "NUMSUB", "fanfare:everyone"]) {
            Value::Array(counts) => counts.get(1) != Some(&Value::Int(0)),
            other => panic!("{other:?}"),
        };
    assert!(counted(0) && !counted(1));
    receipts_are_true(&nodes, async || {
        group.servers[1].command(&["REPLICAOF", "NO", "ONE"]);
        group.name_another(group.servers[1].port());
        let start = Instant::now();
        eventually("both have left the master", async || !counted(0)).await;
        eprintln!("left after {:?}", start.elapsed());
        assert!(start.elapsed() < SOON && has_listeners(1));
    })
    .await;
    // A single Sentinel does not decide.
    let sentinel = &group.sentinels[0];
    sentinel.command(&["SENTINEL", "REMOVE", "mymaster"]);
    let first = group.servers[0].port().to_string();
    sentinel.command(&["SENTINEL", "MONITOR", "mymaster", "127.0.0.1", &first, "2"]);
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!counted(0));
        let health = nodes[0].broker.health().await;
        assert!(matches!(health, BrokerHealth::Connected { .. }), "{health:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_keep_the_master_without_a_sentinel() {
    let mut group = SentinelGroup::start();
    let options = group.options();
    let nodes = two_nodes(&options).await;
    for sentinel in &mut group.sentinels {
        sentinel.kill();
    }
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!is_away(&nodes[0]).await);
    }
    // One Sentinel suffices to find the master.
    group.sentinels[2].restart();
    group.sentinels[2]
        .try_command(&[
            "SENTINEL",
            "MONITOR",
            "mymaster",
            "127.0.0.1",
            &group.servers[0].port().to_string(),
            "1",
        ])
        .ok();
    let later = Node::open_by(BrokerKind::Redis, &options, "c");
    later.ready().await;
}

/// A room continues when the master dies, or when the slot of all rooms moves.
pub(crate) async fn a_room_continues(options: BrokerOptions, disturb: impl AsyncFnOnce()) {
    const ROOM: &str = "project:1";
    let open = |id| RoomNode::open_by(options.clone(), id).counting(&[ROOM]);
    let (first, second) = (open("a").await, open("b").await);
    first.entered(ROOM, "alice").await;
    second.entered(ROOM, "bob").await;
    for node in [&first, &second] {
        node.shows(ROOM, "+alice +bob").await;
    }
    disturb().await;
    for node in [&first, &second] {
        node.connected().await;
    }
    eventually("they count together again", async || {
        let entered = first.entered(ROOM, "carol").await;
        first.leave(ROOM, "carol");
        entered.members.is_some_and(|members| members.len() == 3)
    })
    .await;
    first.leave(ROOM, "alice");
    for node in [&first, &second] {
        eventually("it is shown", async || node.changes(ROOM).ends_with("-alice")).await;
        let changes = node.changes(ROOM);
        let bobs: Vec<&str> = changes
            .split(' ')
            .filter(|change| change.ends_with("bob"))
            .collect();
        assert_eq!(bobs, ["+bob"], "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_continues_when_sentinels_replace_the_master() {
    let mut group = SentinelGroup::start();
    a_room_continues(group.options(), async || {
        // The replica has received all writes.
        group.servers[0].command(&["WAIT", "1", "1000"]);
        group.servers[0].kill();
        let first = group.servers[0].port();
        wait("another is chosen", || group.named_port() != first);
    })
    .await;
}
