//! A master that dies or is replaced, behind Sentinels and in a Cluster: nothing is lost in silence, and nothing arrives twice.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fanfare_core::{BrokerHealth, Claim};
use fanfare_transports::BrokerOptions;
use redis::Value;
use uuid::Uuid;

use crate::{
    away::{is_away, once_in_order},
    groups::{ClusterGroup, SentinelGroup, text, wait},
    harness::{Node, eventually, to_user},
    rooms::RoomNode,
};

/// How soon a node must notice, and be back once there is a master again.
const SOON: Duration = Duration::from_secs(10);
/// The key that decides which master of a Cluster is used.
const KEY: &str = "fanfare:id:{fanfare}";

async fn two_nodes(options: &BrokerOptions) -> [Node; 2] {
    let nodes = ["a", "b"].map(|name| Node::open_by("redis", options, name));
    for node in &nodes {
        node.ready().await;
    }
    nodes
}

/// Publishes numbers to a user of the other node, with a disturbance in the middle. What a receipt says has arrived did so
/// once, and what did not arrive has a receipt that is degraded.
async fn receipts_are_true([first, second]: &[Node; 2], disturb: impl AsyncFnOnce()) {
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

/// Waits until both nodes have noticed something, and then until both are well again.
async fn away_and_back(nodes: &[Node; 2]) {
    let start = Instant::now();
    for node in nodes {
        eventually("it is noticed", async || is_away(node).await).await;
    }
    eprintln!("noticed after {:?}", start.elapsed());
    assert!(start.elapsed() < SOON);
    for node in nodes {
        node.ready().await;
    }
    eprintln!("back after {:?}", start.elapsed());
}

async fn id_is_new_once([first, second]: &[Node; 2]) {
    let id = Uuid::new_v4();
    assert_eq!(first.broker.claim(vec![id]).await, [Claim::New]);
    assert_eq!(second.broker.claim(vec![id]).await, [Claim::Taken]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_replace_a_master_that_died() {
    let mut group = SentinelGroup::start();
    let nodes = two_nodes(&group.options()).await;
    receipts_are_true(&nodes, async || {
        group.servers[0].kill();
        away_and_back(&nodes).await;
    })
    .await;
    assert_eq!(group.named_port(), group.servers[1].port());
    id_is_new_once(&nodes).await;
    // A node that comes later finds the new one.
    let later = Node::open_by("redis", &group.options(), "c");
    later.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_its_own_reach_a_node_once_while_the_master_changes() {
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
async fn a_master_is_left_that_hung_and_was_replaced() {
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

/// As if the Sentinels could not reach the former master, which goes on answering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_is_left_that_lives_and_is_none_any_more() {
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
        eventually("both have left it", async || !counted(0)).await;
        eprintln!("left after {:?}", start.elapsed());
        assert!(start.elapsed() < SOON && has_listeners(1));
    })
    .await;
    // A Sentinel alone does not decide.
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
async fn without_a_sentinel_the_master_goes_on() {
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
    // One suffices to find the master.
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
    let later = Node::open_by("redis", &options, "c");
    later.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_replaces_a_master_that_died() {
    let mut group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let owner = group.owner(KEY);
    receipts_are_true(&nodes, async || {
        group.servers[owner].kill();
        away_and_back(&nodes).await;
    })
    .await;
    id_is_new_once(&nodes).await;
    let later = Node::open_by("redis", &group.options(), "c");
    later.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_its_own_reach_a_node_once_while_a_slot_moves() {
    let group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    id_is_new_once(&nodes).await;
    nodes[0].hold("alice", 1).await;
    once_in_order(&nodes[0], to_user("alice", "0").audience, async || {
        move_slot(&group).await;
        let start = Instant::now();
        let owner = group.owner(KEY);
        eventually("both follow", async || listeners(&group, owner) == 2).await;
        eprintln!("followed after {:?}", start.elapsed());
        assert!(start.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    id_is_new_once(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_true_while_a_slot_moves() {
    let group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    receipts_are_true(&nodes, async || {
        move_slot(&group).await;
        // Before the nodes have followed.
        id_is_new_once(&nodes).await;
        let owner = group.owner(KEY);
        eventually("both follow", async || listeners(&group, owner) == 2).await;
    })
    .await;
    id_is_new_once(&nodes).await;
}

/// Nodes that listen at a server.
fn listeners(group: &ClusterGroup, server: usize) -> i64 {
    match group.servers[server].command(&["PUBSUB", "NUMSUB", "fanfare:everyone"]) {
        Value::Array(counts) => match counts.get(1) {
            Some(Value::Int(count)) => *count,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Moves the slot that decides to another master, with its keys, as `redis-cli --cluster reshard` does it.
async fn move_slot(group: &ClusterGroup) {
    move_slot_of(group, KEY).await;
}

/// Moves the slot of `name`.
async fn move_slot_of(group: &ClusterGroup, name: &str) {
    let from = group.owner(name);
    let to = (from + 1) % 3;
    let (from, to) = (&group.servers[from], &group.servers[to]);
    let id = |server| text(server, &["CLUSTER", "MYID"]);
    let (from_id, to_id) = (id(from), id(to));
    let Value::Int(slot) = from.command(&["CLUSTER", "KEYSLOT", name]) else {
        panic!("no slot");
    };
    let slot = slot.to_string();
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    loop {
        let Value::Array(keys) = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]) else {
            panic!("no keys");
        };
        if keys.is_empty() {
            break;
        }
        for key in keys {
            let Value::BulkString(key) = key else {
                panic!("no key")
            };
            let key = String::from_utf8(key).unwrap();
            let port = to.port().to_string();
            from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "1000"]);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for server in [to, from] {
        server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shard_that_dies_disturbs_nothing() {
    let mut group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    nodes[1].hold("bob", 1).await;
    let other = (group.owner(KEY) + 1) % 3;
    group.servers[other].kill();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        let receipt = nodes[0].publish_one(to_user("bob", "1")).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    id_is_new_once(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_down_is_away() {
    let mut group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let owner = group.owner(KEY);
    // Without most of its masters, the one that is left answers and serves nothing.
    for number in (0..3).filter(|number| *number != owner) {
        group.servers[number].kill();
    }
    for number in 3..6 {
        group.servers[number].kill();
    }
    let start = Instant::now();
    for node in &nodes {
        eventually("it is noticed", async || is_away(node).await).await;
    }
    eprintln!("noticed after {:?}", start.elapsed());
    assert!(
        start.elapsed() < SOON + Duration::from_secs(2),
        "the Cluster itself takes two seconds"
    );
    for number in (0..6).filter(|number| *number != owner) {
        group.servers[number].restart();
    }
    for node in &nodes {
        node.ready().await;
    }
}

/// Backends publish at whichever node of a Cluster they are connected to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_anywhere_in_a_cluster_arrives_once() {
    let group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    for node in &nodes {
        node.hold("bob", 1).await;
        node.hold_interest(crate::harness::channel("a.b"), 1).await;
    }
    nodes[1]
        .hold_interest(fanfare_core::Interest::AllChannels, 1)
        .await;
    let mut expected = Vec::new();
    for (number, server) in group.servers.iter().enumerate() {
        for (place, channel) in ["user_noti:bob", "fanfare:channel:a.b", "fanfare:everyone"]
            .iter()
            .enumerate()
        {
            let data = format!("[{number},{place}]");
            server.command(&["PUBLISH", channel, &format!(r#"{{"type":"t","payload":{data}}}"#)]);
            expected.push(data);
        }
        let id = Uuid::new_v4();
        let body = format!(r#"{{"to":"everyone","id":"{id}","data":[{number}]}}"#);
        for _ in 0..2 {
            server.command(&["PUBLISH", "fanfare:events", &body]);
        }
        expected.push(format!("[{number}]"));
    }
    expected.sort();
    for node in &nodes {
        let seen = || {
            let mut seen = node.inbound.data();
            seen.sort();
            seen
        };
        eventually("all arrive", async || seen().len() >= expected.len()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(seen(), expected);
    }
}

/// Backends may publish by `SPUBLISH`, too, at the node that has the name's slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_sharded_arrives_once() {
    let group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let users: Vec<String> = (0..30).map(|number| format!("user{number}")).collect();
    for node in &nodes {
        for user in &users {
            node.hold(user, 1).await;
        }
    }
    let spublish = |name: &str, body: &str| {
        let sent = group.servers[..3]
            .iter()
            .find_map(|server| server.try_command(&["SPUBLISH", name, body]).ok());
        assert_eq!(sent, Some(Value::Int(2)), "{name}");
    };
    let mut expected = Vec::new();
    for (number, user) in users.iter().enumerate() {
        spublish(
            &format!("user_noti:{user}"),
            &format!(r#"{{"type":"t","payload":{number}}}"#),
        );
        expected.push(number.to_string());
    }
    spublish("fanfare:everyone", r#"{"type":"t","payload":"all"}"#);
    let body = format!(r#"{{"to":"everyone","id":"{}","data":"named"}}"#, Uuid::new_v4());
    spublish("fanfare:events", &body);
    // The same id by the other way is a repetition.
    group.servers[4].command(&["PUBLISH", "fanfare:events", &body]);
    expected.extend(["\"all\"".to_owned(), "\"named\"".to_owned()]);
    expected.sort();
    let seen = |node: &Node| {
        let mut seen = node.inbound.data();
        seen.sort();
        seen
    };
    for node in &nodes {
        eventually("all arrive", async || seen(node).len() >= expected.len()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(seen(node), expected);
    }
    // The user of one of the names goes, and comes again.
    let alice = || crate::harness::interest("user0");
    for _ in 0..5 {
        nodes[0].let_go(alice());
        nodes[0].hold("user0", 1).await;
    }
    nodes[1].let_go(alice());
    let reached = |name: &str| {
        let servers = group.servers[..3].iter();
        let counts = servers.map(|server| match server.command(&["PUBSUB", "SHARDNUMSUB", name]) {
            Value::Array(counts) => match counts.get(1) {
                Some(Value::Int(count)) => *count,
                _ => 0,
            },
            other => panic!("{other:?}"),
        });
        counts.sum::<i64>()
    };
    eventually("one has gone", async || reached("user_noti:user0") == 1).await;
    // Where a slot goes, its names are subscribed to again.
    move_slot_of(&group, "user_noti:user1").await;
    eventually("both have followed", async || reached("user_noti:user1") == 2).await;
}

/// A room goes on as it was when the master dies, or the slot of all rooms moves.
async fn a_room_goes_on(options: BrokerOptions, disturb: impl AsyncFnOnce()) {
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
async fn a_room_goes_on_when_sentinels_replace_the_master() {
    let mut group = SentinelGroup::start();
    a_room_goes_on(group.options(), async || {
        // The replica has all that was written.
        group.servers[0].command(&["WAIT", "1", "1000"]);
        group.servers[0].kill();
        let first = group.servers[0].port();
        wait("another is chosen", || group.named_port() != first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_goes_on_when_its_slot_moves() {
    let group = ClusterGroup::start();
    a_room_goes_on(group.options(), async || move_slot(&group).await).await;
}
