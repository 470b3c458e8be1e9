//! Other programs that publish and subscribe on the same Redis.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fanfare_core::{Audience, BrokerHealth, Claim, Interest};
use fanfare_transports::BrokerKind;

use crate::{
    harness::{Cluster, LINGER, Node, channel, eventually, reach_each_other, to, to_channel, to_user},
    server::RedisServer,
};

/// Returns a server to publish on, and a node on it.
async fn node() -> (Cluster, Node) {
    let cluster = Cluster::Redis(RedisServer::start());
    let node = cluster.node("a").await;
    (cluster, node)
}

impl Cluster {
    fn server(&self) -> &RedisServer {
        match self {
            Self::Redis(server) => server,
            _ => panic!("no server"),
        }
    }

    fn publish(&self, channel: &str, message: &str) -> redis::Value {
        self.server().command(&["PUBLISH", channel, message])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_publish_to_users_and_everyone() {
    let (cluster, node) = node().await;
    node.hold("a:1", 1).await;
    let payload = r#"{"b":1.10, "a":"\u00e9"}"#;
    let message = format!(r#"{{"type":"order","payload":{payload},"extra":1}}"#);
    assert_eq!(cluster.publish("user_noti:a:1", &message), redis::Value::Int(1));
    assert_eq!(
        cluster.publish("fanfare:everyone", &message),
        redis::Value::Int(1)
    );
    assert_eq!(cluster.publish("user_noti:other", &message), redis::Value::Int(0));
    eventually("both arrive", async || node.inbound.delivered().len() == 2).await;
    let seen = node.inbound.delivered();
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
    let (cluster, first) = node().await;
    let second = cluster.node("b").await;
    let body = r#"[{"to":{"user":"1"},"type":"t","data":[1]},{"to":"everyone","data":2}]"#;
    assert_eq!(cluster.publish("fanfare:events", body), redis::Value::Int(2));
    for node in [&first, &second] {
        eventually("it arrives", async || node.inbound.data() == ["[1]", "2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_two_prefixes_share_a_server_and_nothing_else() {
    let server = RedisServer::start();
    let nodes = ["", "eu:", "eu:", "[*]"].map(|prefix| Node::open_prefixed(&server.url(), prefix));
    for node in &nodes {
        node.ready().await;
        node.hold("alice", 1).await;
        node.hold_interest(Interest::AllChannels, 1).await;
    }
    let [plain, first, second, other] = &nodes;
    for event in [
        to_user("alice", "1"),
        to_channel("a", "2"),
        to(Audience::Everyone, "3"),
    ] {
        assert_eq!(first.publish_one(event).await.nodes, 2);
    }
    server.command(&["PUBLISH", "eu:user_noti:alice", r#"{"type":"t","payload":4}"#]);
    for node in [first, second] {
        eventually("all arrive", async || node.inbound.data() == ["1", "2", "3", "4"]).await;
    }
    first.broker.broadcast("notice".into());
    eventually("it arrives", async || second.inbound.notices() == ["notice"]).await;
    let id = vec![uuid::Uuid::from_u128(1)];
    assert_eq!(first.broker.claim(id.clone()).await, [Claim::New]);
    assert_eq!(second.broker.claim(id.clone()).await, [Claim::Taken]);
    for node in [plain, other] {
        assert_eq!(node.broker.claim(id.clone()).await, [Claim::New]);
        assert_eq!(node.broker.ask("q".into()).await.answers.len(), 1);
        assert!(node.inbound.delivered().is_empty() && node.inbound.notices().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_counted_and_dropped() {
    let (cluster, node) = node().await;
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
    // Messages between nodes are no publications.
    assert_eq!(node.inbound.received(), 7);
}

/// Returns the number of messages that a node ignored for `reason`.
fn ignored(node: &Node, reason: &str) -> u64 {
    let ignored = node.broker.figures().ignored;
    let of_reason = ignored.iter().find(|(name, _)| *name == reason);
    of_reason.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_messages_are_counted_by_reason_and_dropped() {
    let (cluster, node) = node().await;
    let nodes = [node, cluster.node("b").await];
    reach_each_other(&nodes).await;
    let [node, other] = nodes;
    node.hold("1", 1).await;
    let five = "x".repeat(5 << 20);
    let nine = format!(r#"{{"type":"t","payload":"{}"}}"#, "x".repeat(9 << 20));
    for (channel, message, reason) in [
        ("user_noti:1", "garbage", "malformed"),
        ("user_noti:1", &five, "malformed"),
        ("fanfare:everyone", &nine, "too_large"),
        ("fanfare:nodes", &nine, "too_large"),
        ("fanfare:nodes", "garbage", "garbage"),
        ("fanfare:nodes", &five, "garbage"),
        (
            "fanfare:node:a",
            r#"{"of a later version":{"node":"b"}}"#,
            "other_version",
        ),
        (
            "fanfare:node:a",
            r#"{"probe":"of another form"}"#,
            "other_version",
        ),
    ] {
        let before = ignored(&node, reason);
        cluster.publish(channel, message);
        eventually("it is counted", async || ignored(&node, reason) == before + 1).await;
    }
    // A large event arrives if a door accepts it.
    let large = format!(r#"{{"type":"t","payload":"{five}"}}"#);
    cluster.publish("user_noti:1", &large);
    eventually("it arrives", async || node.inbound.delivered().len() == 1).await;
    let receipt = other.publish_one(to_user("1", "2")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
    assert_eq!(other.broker.ask("q".into()).await.answers.len(), 2);
    node.broker.broadcast("notice".into());
    eventually("it arrives", async || other.inbound.notices() == ["notice"]).await;
    assert_eq!(node.broker.figures().reconnects, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_later_version_whose_clock_is_an_hour_off_is_understood() {
    let (cluster, node) = node().await;
    node.hold("1", 1).await;
    let id = "0192f0c1-2345-7abc-8def-0123456789ab";
    for (offset, fields) in [
        (3600, r#""reply":7"#),
        (-3600, r#""echo":8"#),
        (0, r#""later":[1]"#),
    ] {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let seconds = now.as_secs().checked_add_signed(offset).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let timestamp = fanfare_core::timestamp(time);
        let envelope =
            format!(r#"{{"id":"{id}","node":"later","timestamp":"{timestamp}",{fields},"more":{{"a":1}}}}"#);
        let message = format!(r#"{{"type":"t","payload":1,"fanfare":{envelope},"more":2}}"#);
        cluster.publish("user_noti:1", &message);
        eventually("it arrives", async || {
            node.inbound
                .delivered()
                .last()
                .is_some_and(|event| event.timestamp == time)
        })
        .await;
    }
    assert_eq!(node.inbound.delivered().len(), 3);
    // The node reports, broadcasts a notice, and ends.
    let run = 5;
    for message in [
        format!(
            r#"{{"report":{{"node":"later","run":{run},"receives":true,"notices":0,"reply":true,"more":1}}}}"#
        ),
        format!("{{\"notice\":{{\"node\":\"later\",\"run\":{run},\"number\":0,\"more\":1}}}}\nhello"),
    ] {
        cluster.publish("fanfare:nodes", &message);
    }
    eventually("it is a live node", async || {
        node.broker.figures().peers == [("live", 1), ("missing", 0)]
    })
    .await;
    eventually("its notice arrives", async || node.inbound.notices() == ["hello"]).await;
    cluster.publish("fanfare:nodes", r#"{"ended":{"node":"later","more":1}}"#);
    eventually("it has ended", async || {
        node.broker.figures().peers == [("live", 0), ("missing", 0)]
    })
    .await;
    assert_eq!(node.inbound.rejections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_subscribers_receive_events_and_delay_no_receipt() {
    let (cluster, node) = node().await;
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
    // Each of the twenty waits much less than half a second.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let message: Vec<u8> = foreign.get_message().unwrap().get_payload().unwrap();
    let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(message["type"], "test");
    assert_eq!(message["payload"], serde_json::json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_never_printed() {
    let server = RedisServer::start_with(Some("opensesame"));
    let good = Node::open(BrokerKind::Redis, &server.url(), "a");
    good.ready().await;
    let bad = Node::open(
        BrokerKind::Redis,
        &server.url().replace("opensesame", "sesamopen"),
        "b",
    );
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
async fn a_dropped_broker_closes_its_connections() {
    let (cluster, node) = node().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_publish_on_channels() {
    let (cluster, node) = node().await;
    node.hold_interest(channel("project:1"), 1).await;
    let messages = [
        (r#"{"type":"t","payload":[1.10]}"#, Some("t"), "[1.10]"),
        (r#"{"type":"t","data":2,"sender":"shop"}"#, Some("t"), "2"),
        ("[3]", None, "[3]"),
        ("\"text\"", None, "\"text\""),
    ];
    for hold_all in [false, true] {
        if hold_all {
            node.hold_interest(Interest::AllChannels, 1).await;
            // The subscription to the channel ends once the one to all channels is in force.
            eventually("only the pattern is left", async || {
                count_subscribed(&cluster) == (0, 1)
            })
            .await;
        }
        for (message, ..) in messages {
            let listeners = cluster.publish("fanfare:channel:project:1", message);
            assert_eq!(listeners, redis::Value::Int(1));
        }
        // These are no channels.
        for name in ["user:1", "notifications.user.1", "user_noti:1", "a..b", "a*", ""] {
            cluster.publish(&format!("fanfare:channel:{name}"), r#"{"type":"t","payload":1}"#);
        }
        cluster.publish("fanfare:channel:project:1", "nope");
    }
    eventually("all arrive", async || {
        node.inbound.delivered().len() == 2 * messages.len()
    })
    .await;
    let seen = node.inbound.delivered();
    for (event, (_, kind, data)) in seen.iter().zip(messages.iter().chain(&messages)) {
        assert_eq!(event.audience, to_channel("project:1", "0").audience);
        assert_eq!((event.kind.as_deref(), event.data.as_str()), (*kind, *data));
    }
    eventually("the bad ones are counted", async || {
        node.inbound.rejections() == 2 + 6
    })
    .await;
}

/// Returns the number of Fanfare's channels, and of patterns, that have subscribers.
fn count_subscribed(cluster: &Cluster) -> (usize, i64) {
    let channels = cluster
        .server()
        .command(&["PUBSUB", "CHANNELS", "fanfare:channel:*"]);
    let patterns = cluster.server().command(&["PUBSUB", "NUMPAT"]);
    match (channels, patterns) {
        (redis::Value::Array(channels), redis::Value::Int(patterns)) => (channels.len(), patterns),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_subscribes_to_channels_or_to_the_pattern() {
    let server = RedisServer::start();
    let linger = Duration::from_secs(2);
    let node = Node::open_with(BrokerKind::Redis, &server.url(), "a", linger);
    node.ready().await;
    let cluster = Cluster::Redis(server);
    let names: Vec<Interest> = (0..3000).map(|number| channel(&format!("c{number}"))).collect();
    let subscribed = names.iter().map(|name| node.broker.subscribe(name.clone()));
    futures_util::future::join_all(subscribed.collect::<Vec<_>>()).await;
    assert_eq!(count_subscribed(&cluster), (3000, 0));
    node.broker.subscribe(Interest::AllChannels).await;
    eventually("only the pattern is left", async || {
        count_subscribed(&cluster) == (0, 1)
    })
    .await;
    for name in &names[..2000] {
        node.broker.unsubscribe(name.clone());
    }
    // The interest returns before the node unsubscribes.
    node.broker.unsubscribe(Interest::AllChannels);
    tokio::time::sleep(linger / 10).await;
    node.broker.subscribe(Interest::AllChannels).await;
    tokio::time::sleep(2 * linger).await;
    assert_eq!(count_subscribed(&cluster), (0, 1));
    node.broker.unsubscribe(Interest::AllChannels);
    tokio::time::sleep(linger / 10).await;
    assert_eq!(count_subscribed(&cluster), (0, 1));
    eventually("the channels that are left are listened to", async || {
        count_subscribed(&cluster) == (1000, 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_declines_events_without_receivers_unasked() {
    let (cluster, publisher) = node().await;
    let node = Node::open_with(
        BrokerKind::Redis,
        &cluster.server().url(),
        "b",
        Duration::from_secs(60),
    );
    node.ready().await;
    node.broker.subscribe(Interest::AllChannels).await;
    node.broker.unsubscribe(Interest::AllChannels);
    let client = redis::Client::open(cluster.server().url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut between_nodes = connection.as_pubsub();
    between_nodes.subscribe("fanfare:nodes").unwrap();
    for publisher in [&publisher, &node].repeat(20) {
        let receipt = publisher.publish_one(to_channel("a", "1")).await;
        assert_eq!((receipt.nodes, receipt.degraded), (0, false));
    }
    assert!(node.inbound.delivered().is_empty());
    // On a slow machine a node may ask sometimes; a node that must ask does so each time.
    let mut asked = 0;
    between_nodes
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    while between_nodes.get_message().is_ok() {
        asked += 1;
    }
    assert!(asked < 10, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_messages_of_backends_are_all_delivered_while_patterns_change() {
    let (cluster, node) = node().await;
    node.hold_interest(channel("tick"), 1).await;
    let client = redis::Client::open(cluster.server().url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let stop = AtomicBool::new(false);
    let publish = async {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut pipe = redis::pipe();
            for _ in 0..5 {
                pipe.publish("fanfare:channel:tick", "null");
            }
            pipe.query_async::<redis::Value>(&mut connection).await.unwrap();
            count += 5;
        }
        count
    };
    let switches = async {
        for round in 0..150 {
            node.broker.subscribe(Interest::AllChannels).await;
            node.broker.unsubscribe(Interest::AllChannels);
            tokio::time::sleep(LINGER / 2 * (round % 5)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (count, ()) = tokio::join!(publish, switches);
    // A later event has arrived.
    node.publish_one(to_channel("tick", "\"end\"")).await;
    let seen = node.inbound.data();
    assert_eq!(
        (seen.len(), seen.last().map(String::as_str)),
        (count + 1, Some("\"end\""))
    );
}
