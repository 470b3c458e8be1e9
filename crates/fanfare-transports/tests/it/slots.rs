//! A Redis Cluster whose masters die and whose slots move, and events of backends in it.

use std::time::{Duration, Instant};

use fanfare_core::Interest;
use fanfare_transports::BrokerKind;
use redis::Value;
use uuid::Uuid;

use crate::{
    away::{is_away, once_in_order},
    failover::{SOON, a_room_continues, away_and_back, id_is_new_once, receipts_are_true, two_nodes},
    groups::{ClusterGroup, text},
    harness::{Node, channel, eventually, interest, to_user},
};

/// The key whose slot's master all nodes use.
const KEY: &str = "fanfare:id:{fanfare}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_cluster_when_a_master_dies() {
    let mut group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let owner = group.owner(KEY);
    receipts_are_true(&nodes, async || {
        group.servers[owner].kill();
        away_and_back(&nodes).await;
    })
    .await;
    id_is_new_once(&nodes).await;
    let later = Node::open_by(BrokerKind::Redis, &group.options(), "c");
    later.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_events_are_delivered_once_while_a_slot_moves() {
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
        // Before the nodes follow the slot.
        id_is_new_once(&nodes).await;
        let owner = group.owner(KEY);
        eventually("both follow", async || listeners(&group, owner) == 2).await;
    })
    .await;
    id_is_new_once(&nodes).await;
}

/// Returns the number of nodes that are subscribed at a server.
fn listeners(group: &ClusterGroup, server: usize) -> i64 {
    match group.servers[server].command(&["PUBSUB", "NUMSUB", "fanfare:everyone"]) {
        Value::Array(counts) => match counts.get(1) {
            Some(Value::Int(count)) => *count,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Moves the slot of all keys to another master, like `redis-cli --cluster reshard`.
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
async fn the_death_of_another_shard_affects_no_event() {
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
async fn a_cluster_that_is_down_is_unavailable() {
    let mut group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    let owner = group.owner(KEY);
    // Without most of its masters, the remaining one answers and serves nothing.
    for number in (0..3).filter(|number| *number != owner) {
        group.servers[number].kill();
    }
    for number in 3..6 {
        group.servers[number].kill();
    }
    let start = Instant::now();
    for node in &nodes {
        eventually("the outage is detected", async || is_away(node).await).await;
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

/// Backends publish at any node of a Cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_published_at_any_node_of_a_cluster_arrive_once() {
    let group = ClusterGroup::start();
    let nodes = two_nodes(&group.options()).await;
    for node in &nodes {
        node.hold("bob", 1).await;
        node.hold_interest(channel("a.b"), 1).await;
    }
    nodes[1].hold_interest(Interest::AllChannels, 1).await;
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

/// Backends may also publish by `SPUBLISH`, at the node that has the name's slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_publications_arrive_once() {
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
    // The same id by the other command is a repeat.
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
    // The user of one name leaves and returns.
    let alice = || interest("user0");
    for _ in 0..5 {
        nodes[0].release(alice());
        nodes[0].hold("user0", 1).await;
    }
    nodes[1].release(alice());
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
    // If a slot moves, its names are subscribed again at the new node.
    move_slot_of(&group, "user_noti:user1").await;
    eventually("both have followed", async || reached("user_noti:user1") == 2).await;
}

/// Only the connections with sharded subscriptions are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_waits_while_sharded_subscriptions_are_renewed() {
    let group = ClusterGroup::start();
    let [node, _] = two_nodes(&group.options()).await;
    for round in 0..10 {
        let mut killed = 0;
        for server in &group.servers[..3] {
            for client in text(server, &["CLIENT", "LIST"]).lines() {
                let is_sharded = !client.contains(" ssub=0 ");
                let id = client.split([' ', '=']).nth(1).unwrap();
                killed += u32::from(is_sharded && server.try_command(&["CLIENT", "KILL", "ID", id]).is_ok());
            }
        }
        assert!(killed > 0);
        let user = format!("user{round}");
        node.hold(&user, 1).await;
        let name = format!("user_noti:{user}");
        let sent = group.servers[..3].iter().find_map(|server| {
            let message = r#"{"type":"t","payload":1}"#;
            server.try_command(&["SPUBLISH", &name, message]).ok()
        });
        assert_eq!(sent, Some(Value::Int(1)), "{user}");
        // Messages in transit are lost with a killed connection.
        eventually("it arrives", async || node.inbound.data().len() > round).await;
        if let Some(renewal) = node.broker.renewal() {
            renewal.await;
        }
    }
    assert_eq!(node.inbound.data().len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_continues_when_its_slot_moves() {
    let group = ClusterGroup::start();
    a_room_continues(group.options(), async || move_slot(&group).await).await;
}
