//! The laws of NATS only: subjects, messages of other programs, rights, and servers without JetStream.

use std::time::Duration;

use fanfare_core::{Audience, BrokerError, BrokerHealth, Claim, Event, Interest, Receipt};
use fanfare_transports::{BrokerKind, BrokerOptions};
use uuid::Uuid;

use crate::{
    away::{audiences, check_a_hang_is_detected, numbers, once_in_order},
    harness::{Node, RECEIPT, channel, eventually, reach_each_other, to, to_channel, to_user},
    nats_server::NatsServer,
    rights::{claim, exercise_events_and_notices, exercise_presence, named},
};

async fn two_nodes() -> (NatsServer, Node, Node) {
    let server = NatsServer::start();
    let nodes = [server.node("a").await, server.node("b").await];
    reach_each_other(&nodes).await;
    let [first, second] = nodes;
    (server, first, second)
}

async fn why_away(node: &Node) -> String {
    match node.broker.health().await {
        BrokerHealth::Disconnected { error } => error,
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_name_reaches_only_its_subscribers() {
    let (_server, first, second) = two_nodes().await;
    let users = [
        ">",
        "*",
        "a.b",
        "a.*",
        "a b",
        "%2E",
        "\u{e9}\u{1f3ba}",
        "$JS",
        &"%".repeat(255),
        &"\u{1f3ba}".repeat(63),
    ];
    for user in users {
        second.hold(user, 1).await;
    }
    for user in users {
        let receipt = first.publish_one(to_user(user, "1")).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (1, false), "{user}");
    }
    for user in ["a", "a.c", "b", "x"] {
        assert_eq!(
            first.publish_one(to_user(user, "2")).await.reach.queued,
            0,
            "{user}"
        );
    }
    let channels = [
        "a.b:c",
        "a:b.c",
        "a",
        "a.b",
        "a b",
        "\u{e9}.\u{1f3ba}",
        "%2E",
        &"x".repeat(255),
    ];
    for name in channels {
        second.hold_interest(channel(name), 1).await;
    }
    for name in channels {
        let receipt = first.publish_one(to_channel(name, "3")).await;
        assert_eq!((receipt.reach.queued, receipt.degraded), (1, false), "{name}");
    }
    assert_eq!(first.publish_one(to_channel("a.c", "4")).await.reach.queued, 0);
    second.hold_interest(Interest::AllChannels, 1).await;
    for name in ["a.c", "a:b", "z"] {
        assert_eq!(
            first.publish_one(to_channel(name, "5")).await.reach.queued,
            1,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_publish_on_documented_subjects() {
    let (server, first, second) = two_nodes().await;
    first.hold("a.b", 1).await;
    first.hold_interest(channel("a.b:c"), 1).await;
    server.publish("user_noti.a%2Eb", br#"{"type":"t","payload":1}"#);
    server.publish("fanfare.channel.a.b%3Ac", br#"{"data":2}"#);
    server.publish("fanfare.everyone", br#"{"type":"t","payload":3}"#);
    server.publish("fanfare.events", br#"{"to":"everyone","data":4}"#);
    let own = ["1", r#"{"data":2}"#, "3", "4"];
    eventually("all comes", async || first.inbound.data() == own).await;
    eventually("what is for everyone comes", async || {
        second.inbound.data() == ["3", "4"]
    })
    .await;
    // Headers of publishers are ignored.
    server.send(b"HPUB fanfare.everyone 19 46\r\nNATS/1.0\r\nA: \xff\xfe\r\n\r\n{\"type\":\"t\",\"payload\":\"x\"} \r\n");
    eventually("it comes", async || first.inbound.data().len() == 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_of_other_programs_are_counted_and_dropped() {
    let (server, first, second) = two_nodes().await;
    first.hold("alice", 1).await;
    first.hold_interest(Interest::AllChannels, 1).await;
    let large = vec![b'x'; 2_000_000];
    for (subject, payload) in [
        ("fanfare.everyone", &b""[..]),
        ("fanfare.everyone", b"\xff\xfe"),
        ("fanfare.everyone", br#"{"type":"t"}"#),
        ("fanfare.everyone", &large),
        ("fanfare.events", b"{}"),
        ("fanfare.nodes", b"\0"),
        ("fanfare.nodes", br#"{"version":99,"what":"new"}"#),
        ("fanfare.node.a", b"{}"),
        ("fanfare.channel.a*b", b"1"),
        ("fanfare.channel.%2A", b"1"),
        ("fanfare.channel.a%2Eb", b"1"),
        ("fanfare.channel.notifications.user.1", b"1"),
    ] {
        let before = first.inbound.rejections();
        server.publish(subject, payload);
        eventually(subject, async || first.inbound.rejections() == before + 1).await;
    }
    let receipt = second.publish_one(to_user("alice", "1")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (1, false));
    assert_eq!(first.inbound.data(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_different_prefixes_do_not_reach_each_other() {
    let server = NatsServer::start();
    let open = |prefix: &str, id: &str| {
        let options = BrokerOptions {
            url: server.url(),
            prefix: prefix.to_owned(),
            ..BrokerOptions::default()
        };
        Node::open_by(BrokerKind::Nats, &options, id)
    };
    let (first, second, other) = (open("eu.", "a"), open("eu.", "b"), open("us.", "a"));
    for node in [&first, &second, &other] {
        node.ready().await;
        node.hold("alice", 1).await;
    }
    eventually("both of a prefix are there", async || {
        first.publish_one(to_user("alice", "1")).await.nodes == 2
    })
    .await;
    assert_eq!(other.inbound.data(), [] as [&str; 0]);
    assert_eq!(claim(&first, 1).await, Claim::New);
    assert_eq!(claim(&second, 1).await, Claim::Taken);
    assert_eq!(claim(&other, 1).await, Claim::New);
    server.publish("us.user_noti.alice", br#"{"type":"t","payload":2}"#);
    eventually("it comes", async || other.inbound.data() == ["2"]).await;
}

// Failures.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_repeated_when_nats_is_killed() {
    for (audience, interest) in audiences() {
        let (mut server, node, other) = two_nodes().await;
        node.hold_interest(interest, 1).await;
        let receipts = once_in_order(&node, audience, async || {
            server.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.restart();
            node.ready().await;
            other.ready().await;
            // Each node counts as missing until it has announced that it receives.
            eventually("both are back", async || {
                !node.publish_one(to_user("nobody", "0")).await.degraded
            })
            .await;
        })
        .await;
        assert!(receipts.iter().any(|receipt| receipt.degraded));
        assert!(!receipts[0].degraded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_hangs_is_detected() {
    let (server, node, _other) = two_nodes().await;
    check_a_hang_is_detected(&node, |signal| server.signal(signal)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_between_subjects() {
    let (_server, first, second) = two_nodes().await;
    for number in 0..50 {
        second.hold(&format!("user{number}"), 1).await;
        second
            .hold_interest(channel(&format!("channel{number}")), 1)
            .await;
    }
    let events = (0..20_000_u32).map(|number| {
        let (name, data) = (number * 7919 % 50, number.to_string());
        match number % 3 {
            0 => to_user(&format!("user{name}"), &data),
            1 => to_channel(&format!("channel{name}"), &data),
            _ => to(Audience::Everyone, &data),
        }
    });
    first.broker.publish(events.collect(), RECEIPT).await;
    let expected = numbers(0..20_000);
    eventually("all come", async || second.inbound.data().len() >= expected.len()).await;
    assert!(second.inbound.data() == expected, "in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_is_tried() {
    let (mut first, second) = (NatsServer::start(), NatsServer::start());
    let url = format!("nats://127.0.0.1:1,{},{}", first.url(), second.url());
    let node = Node::open(BrokerKind::Nats, &url, "a");
    node.ready().await;
    node.hold("alice", 1).await;
    first.kill();
    eventually("it is at the second", async || {
        second.publish("user_noti.alice", br#"{"type":"t","payload":1}"#);
        !node.inbound.data().is_empty()
    })
    .await;
    node.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_over_max_payload_are_refused() {
    let server = NatsServer::start_with("max_payload: 64KB\njetstream { store_dir: FOLDER }\n");
    let (first, second) = (server.node("a").await, server.node("b").await);
    first.hold("alice", 1).await;
    second.hold("alice", 1).await;
    let large = format!("\"{}\"", "x".repeat(70_000));
    let receipt = first.publish_one(to_user("alice", &large)).await;
    // The node's own connections receive it.
    assert_eq!(
        (receipt.reach.queued, receipt.nodes, receipt.degraded),
        (1, 1, true)
    );
    let receipt = first.publish_one(to_user("alice", "1")).await;
    assert_eq!((receipt.reach.queued, receipt.degraded), (2, false));
    assert_eq!(second.inbound.data(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_jetstream_is_refused() {
    let server = NatsServer::start_with("");
    let node = Node::open(BrokerKind::Nats, &server.url(), "a");
    eventually("it says so", async || {
        let error = why_away(&node).await;
        error.contains("no JetStream") && error.contains("-js")
    })
    .await;
    // An account without JetStream, on a server with JetStream.
    let server = NatsServer::start_with(
        "jetstream { store_dir: FOLDER }\naccounts { A { users: [{user: u, password: s3cret}] } }\n",
    );
    let node = Node::open(BrokerKind::Nats, &server.url_for("u", "s3cret"), "a");
    eventually("it says so", async || {
        why_away(&node).await.contains("no JetStream")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_travel_and_receipts_are_degraded_if_ids_are_refused() {
    let (server, first, second) = two_nodes().await;
    // An administrator seals the bucket.
    let sealed = r#"{"name":"KV_fanfare-ids","subjects":["$KV.fanfare-ids.>"],"max_msgs_per_subject":1,"max_age":600000000000,"duplicate_window":120000000000,"discard":"new","allow_direct":true,"storage":"file","num_replicas":1,"sealed":true}"#;
    server.publish("$JS.API.STREAM.UPDATE.KV_fanfare-ids", sealed.as_bytes());
    eventually("ids are not shared", async || {
        let receipt = first.publish_one(named(1, "1")).await;
        (receipt.nodes, receipt.degraded) == (2, true)
    })
    .await;
    assert_eq!(claim(&second, 5).await, Claim::New);
    assert_eq!(claim(&second, 5).await, Claim::Taken);
    let receipt = first.publish_one(to(Audience::Everyone, "2")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, false));
}

/// JetStream does not reply, as in a cluster without a leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_travel_while_jetstream_does_not_reply() {
    let (server, first, second) = two_nodes().await;
    server.publish("$JS.API.STREAM.DELETE.KV_fanfare-ids", b"");
    let receipt = first.publish_one(named(1, "1")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, true));
    let receipt = first.publish_one(to(Audience::Everyone, "2")).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, false));
    // The next claim that finds the bucket gone creates it again.
    eventually("ids are shared again", async || {
        let id = rand::random::<u64>().into();
        claim(&first, id).await;
        claim(&second, id).await == Claim::Taken
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_dead_nodes_are_remembered() {
    let (_server, node, other) = two_nodes().await;
    assert_eq!(claim(&node, 1).await, Claim::New);
    assert_eq!(claim(&other, 1).await, Claim::Taken);
    let event = Event {
        id: Uuid::from_u128(1),
        named: true,
        ..to_channel("scores", "1")
    };
    node.broker.publish(vec![event], RECEIPT).await;
    let noted = Claim::Published(None);
    eventually("it is noted", async || claim(&other, 1).await == noted).await;
    let receipt = Receipt {
        nodes: 7,
        ..Receipt::default()
    };
    node.broker.record(vec![(Uuid::from_u128(1), receipt)]).await;
    for node in [&node, &other] {
        assert_eq!(claim(node, 1).await, Claim::Published(Some(receipt)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_id_of_another_program_is_delivered_once_on_every_node() {
    let (server, first, second) = two_nodes().await;
    let body = |id: u128, data: u32| {
        format!(
            r#"{{"to":"everyone","id":"{}","data":{data}}}"#,
            Uuid::from_u128(id)
        )
    };
    for (id, data) in [(1, 1), (1, 1), (2, 2), (1, 9), (2, 9), (3, 3)] {
        server.publish("fanfare.events", body(id, data).as_bytes());
    }
    for node in [&first, &second] {
        eventually("each comes once", async || node.inbound.data() == ["1", "2", "3"]).await;
        assert_eq!(node.inbound.rejections(), 0);
    }
    let later = server.node("c").await;
    assert_eq!(claim(&later, 1).await, Claim::Published(Some(Receipt::default())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_outlive_the_server() {
    let (mut server, node, other) = two_nodes().await;
    assert_eq!(claim(&node, 1).await, Claim::New);
    server.kill();
    server.restart();
    node.ready().await;
    other.ready().await;
    assert_eq!(claim(&other, 1).await, Claim::Taken);
}

// Logins and rights.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_login_works() {
    let key = nkeys::KeyPair::new_user();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.nk");
    std::fs::write(&file, key.seed().unwrap()).unwrap();
    let users = format!(
        "accounts {{ A {{ jetstream: enabled, users: [{{user: u, password: \"p#,@\"}}, {{nkey: {}}}] }} }}\n",
        key.public_key()
    );
    let server = NatsServer::start_with(&format!("jetstream {{ store_dir: FOLDER }}\n{users}"));
    Node::open(BrokerKind::Nats, &server.url_for("u", "p%23%2C%40"), "a")
        .ready()
        .await;
    let options = BrokerOptions {
        url: server.url(),
        credentials_file: Some(file),
        ..BrokerOptions::default()
    };
    Node::open_by(BrokerKind::Nats, &options, "b").ready().await;
    let node = Node::open(BrokerKind::Nats, &server.url_for("u", "s3cret"), "a");
    eventually("it says why", async || {
        let error = why_away(&node).await;
        error.contains("Authorization Violation") && !error.contains("s3cret")
    })
    .await;

    let server = NatsServer::start_with("jetstream { store_dir: FOLDER }\nauthorization { token: t0ken }\n");
    let url = server.url().replace("nats://", "nats://t0ken@");
    Node::open(BrokerKind::Nats, &url, "a").ready().await;
}

const PAGE: &str = include_str!("../../../../docs/nats.md");

/// The documented rights of a user `fanfare` with the password `password`.
pub(crate) fn documented_rights() -> &'static str {
    let text = PAGE.split("<!-- rights -->\n```\n").nth(1).unwrap();
    text.split("```").next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let server = NatsServer::start_with(&format!(
        "jetstream {{ store_dir: FOLDER }}\n{}",
        documented_rights()
    ))
    .logged_in(r#","user":"fanfare","pass":"password""#);
    let url = server.url_for("fanfare", "password");
    let options = BrokerOptions {
        url: url.clone(),
        ..BrokerOptions::default()
    };
    // Before the other nodes, one of which would clean up after a dead node without an announcement.
    exercise_presence(&options).await;
    let (first, second) = (
        Node::open(BrokerKind::Nats, &url, "a"),
        Node::open(BrokerKind::Nats, &url, "b"),
    );
    exercise_events_and_notices(&first, &second).await;
    // No right is superfluous.
    let errors = server.send(b"PUB other 0\r\n\r\nSUB > 1\r\n");
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_refuses_to_publish_is_unhealthy_with_a_reason() {
    let rights = documented_rights().replace("\"fanfare.>\", \"user_noti.*\"", "\"user_noti.*\"");
    assert_ne!(rights, documented_rights());
    let server = NatsServer::start_with(&format!("jetstream {{ store_dir: FOLDER }}\n{rights}"));
    let node = Node::open(BrokerKind::Nats, &server.url_for("fanfare", "password"), "a");
    eventually("it says why", async || {
        why_away(&node)
            .await
            .contains("NATS answered Permissions Violation")
    })
    .await;
    assert!(matches!(
        node.broker.probe().await,
        Err(BrokerError::Refused(_) | BrokerError::Away)
    ));
}
