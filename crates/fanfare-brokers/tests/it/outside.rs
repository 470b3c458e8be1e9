//! Redis between Fanfare and everybody else who publishes and listens there.

use std::time::{Duration, Instant};

use fanfare_core::{Audience, BrokerHealth};

use crate::{
    harness::{Cluster, Node, eventually, to_user},
    server::RedisServer,
};

/// A node on a server, and the server to publish on.
async fn node() -> Option<(Cluster, Node)> {
    let cluster = Cluster::Redis(RedisServer::start()?);
    let node = cluster.node("a").await;
    Some((cluster, node))
}

impl Cluster {
    fn server(&self) -> &RedisServer {
        match self {
            Self::Redis(server) => server,
            Self::Memory => panic!("no server"),
        }
    }

    fn publish(&self, channel: &str, message: &str) -> redis::Value {
        self.server().command(&["PUBLISH", channel, message])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_publish_to_users_and_everyone() {
    let Some((cluster, node)) = node().await else {
        return;
    };
    node.hold("a:1", 1).await;
    let payload = r#"{"b":1.10, "a":"\u00e9"}"#;
    let message = format!(r#"{{"type":"order","payload":{payload},"extra":1}}"#);
    assert_eq!(cluster.publish("user_noti:a:1", &message), redis::Value::Int(1));
    assert_eq!(
        cluster.publish("fanfare:everyone", &message),
        redis::Value::Int(1)
    );
    assert_eq!(cluster.publish("user_noti:other", &message), redis::Value::Int(0));
    eventually("both arrive", async || node.inbound.seen().len() == 2).await;
    let seen = node.inbound.seen();
    assert_eq!(seen[1].audience, Audience::Everyone);
    for event in &seen {
        assert_eq!(
            (event.kind.as_deref(), event.data.as_str()),
            (Some("order"), payload)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_the_service_api_reach_every_node() {
    let Some((cluster, first)) = node().await else {
        return;
    };
    let second = cluster.node("b").await;
    let body = r#"[{"to":{"user":"1"},"type":"t","data":[1]},{"to":"everyone","data":2}]"#;
    assert_eq!(cluster.publish("fanfare:events", body), redis::Value::Int(2));
    for node in [&first, &second] {
        eventually("it arrives", async || node.inbound.data() == ["[1]", "2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_counted_and_dropped() {
    let Some((cluster, node)) = node().await else {
        return;
    };
    node.hold("1", 1).await;
    for (channel, message) in [
        ("user_noti:1", ""),
        ("user_noti:1", "nope"),
        ("user_noti:1", r#"{"type":"t"}"#),
        ("user_noti:1", r#"{"type":1,"payload":1}"#),
        ("fanfare:everyone", "[]"),
        ("fanfare:events", r#"{"to":{"user":1},"data":1}"#),
        ("fanfare:node:a", "nope"),
        ("fanfare:nodes", r#"{"unheard":"of"}"#),
    ] {
        cluster.publish(channel, message);
    }
    cluster.publish("user_noti:1", r#"{"type":"t","payload":"good"}"#);
    eventually("the good one arrives", async || {
        node.inbound.data() == ["\"good\""]
    })
    .await;
    assert_eq!(node.inbound.rejections(), 8);
    // What nodes say to each other is no publication.
    assert_eq!(node.inbound.received(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_of_other_make_understand_and_are_not_waited_for() {
    let Some((cluster, node)) = node().await else {
        return;
    };
    let second = cluster.node("b").await;
    node.hold("1", 1).await;
    second.hold("1", 2).await;
    let client = redis::Client::open(cluster.server().url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut foreign = connection.as_pubsub();
    foreign.subscribe(&["user_noti:1", "user_noti:2"]).unwrap();

    let start = Instant::now();
    for (user, queued, nodes) in [("1", 3, 2), ("2", 0, 0)].repeat(10) {
        let receipt = node.publish_one(to_user(user, r#"{"a":1}"#)).await;
        assert_eq!(
            (receipt.reach.queued, receipt.nodes, receipt.degraded),
            (queued, nodes, false)
        );
    }
    // Far from half a second for each of the twenty.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let message: Vec<u8> = foreign.get_message().unwrap().get_payload().unwrap();
    let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(message["type"], "test");
    assert_eq!(message["payload"], serde_json::json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_never_told() {
    let Some(server) = RedisServer::start_with(Some("opensesame")) else {
        return;
    };
    let good = Node::open("redis", &server.url(), "a");
    good.ready().await;
    let bad = Node::open("redis", &server.url().replace("opensesame", "sesamopen"), "b");
    eventually("the reason is known", async || {
        matches!(bad.broker.health().await, BrokerHealth::Disconnected { error } if error != "not connected yet")
    })
    .await;
    let health = format!("{:?}", bad.broker.health().await);
    assert!(
        !health.contains("sesam") && !health.contains("127.0.0.1"),
        "{health}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_broker_lets_go_of_redis() {
    let Some((cluster, node)) = node().await else {
        return;
    };
    let clients = || match cluster.server().command(&["CLIENT", "LIST"]) {
        redis::Value::BulkString(list) => list
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        other => panic!("{other:?}"),
    };
    assert_eq!(clients(), 3, "two of the node, one of this question");
    drop(node);
    eventually("it lets go", async || clients() == 1).await;
}
