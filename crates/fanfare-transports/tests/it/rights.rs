//! A Redis that refuses commands: errors are signs of life, and only refused operations are degraded.

use fanfare_core::{Audience, BrokerError, BrokerHealth, Claim, Event, Interest, Receipt};
use fanfare_transports::{BrokerKind, BrokerOptions};
use uuid::Uuid;

use crate::{
    away::two_nodes,
    groups::{ClusterGroup, SentinelGroup},
    harness::{Cluster, Node, RECEIPT, channel, eventually, to, to_channel, to_user},
    rooms::{RoomNode, slot, users},
    server::RedisServer,
};

const PAGE: &str = include_str!("../../../../docs/redis.md");

/// Returns the words of the documented `ACL SETUSER`.
pub(crate) fn documented_rights() -> Vec<&'static str> {
    documented("<!-- rights -->")
}

/// Returns the words of the documented command that begins with `mark`.
fn documented(mark: &str) -> Vec<&'static str> {
    let behind = PAGE.split(mark).nth(1).unwrap();
    let command = behind.strip_prefix("\n```\n").unwrap();
    command.split("```").next().unwrap().split_whitespace().collect()
}

pub(crate) fn named(id: u128, data: &str) -> Event {
    Event {
        id: Uuid::from_u128(id),
        named: true,
        ..to(Audience::Everyone, data)
    }
}

pub(crate) async fn claim(node: &Node, id: u128) -> Claim {
    node.broker.claim(vec![Uuid::from_u128(id)]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let server = RedisServer::start();
    server.command(&documented_rights());
    let options = BrokerOptions {
        url: server.url_for("fanfare", "password"),
        ..BrokerOptions::default()
    };
    let _nodes = check_rights(&[&server], &options, Some("ping")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_with_sentinels() {
    let group = SentinelGroup::start();
    let options = group.options_for("fanfare", "password");
    for server in &group.servers {
        server.command(&documented_rights());
    }
    for sentinel in &group.sentinels {
        sentinel.command(&[
            "ACL",
            "SETUSER",
            "default",
            "nocommands",
            "+acl",
            "+sentinel|get-master-addr-by-name",
        ]);
    }
    let _nodes = check_rights(&group.servers.iter().collect::<Vec<_>>(), &options, Some("role")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_in_a_cluster() {
    let group = ClusterGroup::start();
    let options = BrokerOptions {
        cluster: group.servers[3..]
            .iter()
            .map(|server| server.url_for("fanfare", "password"))
            .collect(),
        ..BrokerOptions::default()
    };
    for server in &group.servers {
        server.command(&documented_rights());
    }
    let servers: Vec<&RedisServer> = group.servers.iter().collect();
    // Without the further rights, only two features do not work.
    let node = Node::open_by(BrokerKind::Redis, &options, "c");
    node.ready().await;
    node.hold("bob", 1).await;
    let receipt = node.publish_one(to_user("bob", "1")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
    drop(node);

    for server in &servers {
        server.command(&documented("<!-- rights in a Cluster -->"));
        server.command(&["ACL", "LOG", "RESET"]);
    }
    let [first, second] = check_rights(&servers, &options, None).await;
    let message = r#"{"type":"t","payload":"sharded"}"#;
    let published = servers[..3].iter().find_map(|server| {
        server
            .try_command(&["SPUBLISH", "fanfare:everyone", message])
            .ok()
    });
    assert_eq!(published, Some(redis::Value::Int(2)));
    for node in [&first, &second] {
        let sharded = || node.inbound.data().contains(&"\"sharded\"".to_owned());
        eventually("it arrives", async || sharded()).await;
    }
}

/// Exercises all features of nodes. Of their commands, only `sign` and other signs of life may be refused.
async fn check_rights(servers: &[&RedisServer], options: &BrokerOptions, sign: Option<&str>) -> [Node; 2] {
    // Before the other nodes, one of which would clean up after a dead node.
    exercise_presence(options).await;
    let open = |id| Node::open_by(BrokerKind::Redis, options, id);
    let (first, second) = (open("a"), open("b"));
    exercise_events_and_notices(&first, &second).await;
    servers[0].command(&[
        "PUBLISH",
        "fanfare:events",
        r#"{"to":"everyone","id":"00000000-0000-0000-0000-000000000009","data":6}"#,
    ]);
    for node in [&first, &second] {
        eventually("it comes", async || node.inbound.data().contains(&"6".to_owned())).await;
    }
    // Only the signs of life were refused.
    let log = |server: &&RedisServer| match server.command(&["ACL", "LOG"]) {
        redis::Value::Array(refused) => refused,
        other => panic!("{other:?}"),
    };
    let refused = || {
        let refused = servers.iter().flat_map(log);
        refused.map(|entry| format!("{entry:?}")).collect::<Vec<_>>()
    };
    if let Some(sign) = sign {
        let is_refused = || refused().iter().any(|entry| entry.contains(sign));
        eventually("a sign of life is refused", async || is_refused()).await;
    }
    first.ready().await;
    let of_life = |entry: &&String| {
        let signs = [sign.unwrap_or("ping"), "ping", "client|setinfo"];
        signs.iter().any(|sign| entry.contains(sign))
    };
    assert_eq!(refused().iter().find(|entry| !of_life(entry)), None);
    [first, second]
}

/// Exercises events, ids, questions and notices.
pub(crate) async fn exercise_events_and_notices(first: &Node, second: &Node) {
    for node in [first, second] {
        node.ready().await;
        assert!(node.broker.probe().await.is_ok());
    }
    second.hold("alice", 1).await;
    second.hold_interest(channel("a.b"), 1).await;
    second.hold_interest(Interest::AllChannels, 1).await;
    for (event, queued) in [
        (to_user("alice", "1"), 1),
        (to_channel("a.b", "2"), 2),
        (to_channel("x:y", "3"), 1),
    ] {
        let receipt = first.publish_one(event).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (queued, false));
    }
    second.release(Interest::AllChannels);
    second.release(channel("a.b"));
    eventually("the channel is let go", async || {
        first.publish_one(to_channel("a.b", "4")).await.nodes == 0
    })
    .await;

    assert_eq!(claim(first, 1).await, Claim::New);
    assert!(!first.publish_one(named(1, "5")).await.degraded);
    let id = Uuid::from_u128(1);
    let receipt = Receipt::default();
    first.broker.record(vec![(id, receipt)]).await;
    assert_eq!(claim(second, 1).await, Claim::Published(Some(receipt)));
    first.broker.release(vec![id]).await;
    second.broker.release(vec![id]).await;
    assert_eq!(claim(second, 1).await, Claim::New);
    assert!(first.broker.ask("q".into()).await.complete);
    first.broker.broadcast("notice".into());
    eventually("it arrives", async || second.inbound.notices() == ["notice"]).await;
}

/// Exercises rooms and slots, and the death of a node.
pub(crate) async fn exercise_presence(options: &BrokerOptions) {
    let room = "project:1";
    let node = async |id| RoomNode::open_by(options.clone(), id).counting(&[room]).await;
    let (dead, first, second) = (node("dead").await, node("d").await, node("e").await);
    dead.entered(room, "carol").await;
    assert!(first.entered(room, "alice").await.first);
    assert_eq!(
        users(&second.entered(room, "bob").await),
        ["alice", "bob", "carol"]
    );
    assert!(first.broker.acquire_slot(slot("tab"), 1).await);
    assert!(!second.broker.acquire_slot(slot("tab"), 1).await);
    drop(dead);
    eventually("it is cleaned up after", async || {
        second.changes(room).ends_with("-carol")
    })
    .await;
    first.leave(room, "alice");
    second.shows(room, "+carol +alice +bob -carol -alice").await;
    first.broker.close().await;
    assert!(second.broker.acquire_slot(slot("tab"), 1).await);
}

/// Redis answers `PING` with `MASTERDOWN`, and still publishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_master_carries_events() {
    let (server, first, second) = two_nodes().await;
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(server.try_command(&["PING"]).unwrap_err().contains("MASTERDOWN"));
    second.hold("alice", 1).await;
    // Longer than the timeout of both connections.
    for number in 0..40 {
        let receipt = first.publish_one(to_user("alice", &number.to_string())).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (1, false), "{number}");
        let health = first.broker.health().await;
        assert!(matches!(health, BrokerHealth::Connected { .. }), "{health:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_travel_and_receipts_are_degraded_if_ids_are_refused() {
    let (server, first, second) = two_nodes().await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(
        server
            .try_command(&["SET", "a", "b"])
            .unwrap_err()
            .contains("OOM")
    );
    assert_eq!(claim(&first, 1).await, Claim::New);
    let receipt = first.publish_one(named(1, "1")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, true));
    // This node publishes it once; the other node does not know it.
    assert_ne!(claim(&first, 1).await, Claim::New);
    assert_eq!(claim(&second, 1).await, Claim::New);
    // An event without an id needs no claim.
    let receipt = first.publish_one(to(Audience::Everyone, "2")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, false));
    // Enough for several pipelines.
    let many: Vec<Event> = (100..1500).map(|number| named(number, "3")).collect();
    let receipts = first.broker.publish(many, RECEIPT).await;
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.nodes == 2 && receipt.degraded)
    );

    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(claim(&first, 2).await, Claim::New);
    let receipt = first.publish_one(named(2, "4")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, false));
    assert_ne!(claim(&second, 2).await, Claim::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refuses_to_publish_is_unhealthy_with_a_reason() {
    let server = RedisServer::start();
    server.command(&documented_rights());
    let cluster = Cluster::Redis(server);
    let Cluster::Redis(server) = &cluster else {
        return;
    };
    let node = Node::open(BrokerKind::Redis, &server.url_for("fanfare", "password"), "a");
    node.ready().await;
    server.command(&["ACL", "SETUSER", "fanfare", "-publish"]);
    let BrokerHealth::Disconnected { error } = node.broker.health().await else {
        panic!("healthy");
    };
    assert!(error.starts_with("Redis answered NOPERM"), "{error}");
    assert!(error.contains("permissions"), "{error}");
    assert_eq!(node.broker.probe().await, Err(BrokerError::Refused(error)));
    server.command(&["ACL", "SETUSER", "fanfare", "+publish"]);
    node.ready().await;
}
