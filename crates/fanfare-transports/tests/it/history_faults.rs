//! History when servers lose data or connections: every event arrives once and in order, or the loss is reported.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fanfare_core::{
    Audience, Gap,
    history::{Cursor, Unrecovered},
    journal::{JournalFigures, ReplayFrom},
};
use fanfare_transports::{BrokerKind, BrokerOptions};
use redis::Value;

use crate::{
    deaf,
    groups::{SentinelGroup, wait},
    harness::{Node, RECEIPT, channel, eventually, to_channel},
    history::{data, kept, present, read, scope},
    rights::documented_rights,
    server::RedisServer,
};

const CHANNEL: &str = "chat.a";

/// Returns a node on the server of this URL that receives the channel, which has history.
async fn receiving(url: &str, id: &str) -> Node {
    let mut options = BrokerOptions {
        url: url.to_owned(),
        ..BrokerOptions::default()
    };
    options.node.max_fetched = 10_000;
    let node = Node::open_by(BrokerKind::Redis, &options, id);
    node.inbound.keeps.store(true, Ordering::SeqCst);
    node.ready().await;
    node.hold_interest(channel(CHANNEL), 1).await;
    node
}

async fn publish(node: &Node, numbers: std::ops::Range<u32>) {
    let events = numbers.map(|number| kept(to_channel(CHANNEL, &number.to_string()), 10_000));
    node.broker.publish(events.collect(), RECEIPT).await;
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn all_arrive(node: &Node, range: std::ops::Range<u32>) {
    let expected = numbers(range);
    eventually("all have arrived", async || {
        node.inbound.delivered().len() >= expected.len()
    })
    .await;
    assert_eq!(node.inbound.data(), expected);
}

fn gaps(node: &Node) -> (u64, u64) {
    let JournalFigures {
        gaps_found,
        gaps_filled,
        ..
    } = node.broker.journal_figures();
    (gaps_found, gaps_filled)
}

/// Returns a server, a node that receives from it through a proxy that can drop messages, and a node that publishes.
async fn deaf_node() -> (RedisServer, Node, Node, Arc<AtomicBool>) {
    let server = RedisServer::start();
    let (url, deaf) = deaf::proxy(&server).await;
    let (node, publisher) = (receiving(&url, "a").await, server.node("b").await);
    publish(&publisher, 0..2).await;
    all_arrive(&node, 0..2).await;
    (server, node, publisher, deaf)
}

/// Publishes numbers from `next` on until the node has missed some of them. Returns the next number. The proxy drops only reads that begin
/// with a message, so sometimes all messages pass.
async fn lose(node: &Node, publisher: &Node, deaf: &AtomicBool, mut next: u32) -> u32 {
    loop {
        deaf.store(true, Ordering::SeqCst);
        // Resolves when the node has replied, or after the timeout.
        publish(publisher, next..next + 2).await;
        next += 2;
        if node.inbound.delivered().len() < next as usize {
            return next;
        }
        deaf.store(false, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_events_are_fetched_before_the_next_event() {
    let (_server, node, publisher, deaf) = deaf_node().await;
    let mut next = 2;
    while gaps(&node) == (0, 0) {
        next = lose(&node, &publisher, &deaf, next).await;
        deaf.store(false, Ordering::SeqCst);
        publish(&publisher, next..next + 2).await;
        next += 2;
        all_arrive(&node, 0..next).await;
    }
    let (found, filled) = gaps(&node);
    assert!(found > 0 && found == filled, "{found} {filled}");
    assert!(node.inbound.gaps.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_events_are_found_without_a_next_event() {
    let (_server, node, publisher, deaf) = deaf_node().await;
    let mut next = 2;
    while gaps(&node) == (0, 0) {
        next = lose(&node, &publisher, &deaf, next).await;
        deaf.store(false, Ordering::SeqCst);
        all_arrive(&node, 0..next).await;
    }
    let (found, filled) = gaps(&node);
    assert!(found > 0 && found == filled, "{found} {filled}");
    publish(&publisher, next..next + 1).await;
    all_arrive(&node, 0..next + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_cannot_be_filled_is_reported() {
    let (server, node, publisher, deaf) = deaf_node().await;
    let next = lose(&node, &publisher, &deaf, 2).await;
    for key in streams(&server) {
        server.command(&["DEL", &key]);
    }
    deaf.store(false, Ordering::SeqCst);
    publish(&publisher, next..next + 1).await;
    let last = next.to_string();
    eventually("the event arrives", async || node.inbound.data().contains(&last)).await;
    let audience = to_channel(CHANNEL, "0").audience;
    let is_reported = || {
        let gaps = node.inbound.gaps.lock().unwrap().clone();
        let expected =
            |gap: &Gap| gap.audience.as_ref() == Some(&audience) && gap.reason == Unrecovered::Expired;
        !gaps.is_empty() && gaps.iter().all(expected)
    };
    assert!(is_reported(), "{:?}", node.inbound.gaps.lock().unwrap());
}

/// Redis ends the connection of a subscriber that reads too slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_over_its_buffer_limit_misses_no_event() {
    const COUNT: u32 = 3000;
    let server = RedisServer::start();
    let (node, publisher) = (receiving(&server.url(), "a").await, server.node("b").await);
    publish(&publisher, 0..1).await;
    all_arrive(&node, 0..1).await;
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 20000 0 0"]);
    let mut next = 1;
    let reconnects = node.broker.figures().reconnects;
    let is_cut = || node.broker.figures().reconnects > reconnects;
    while !is_cut() && next < COUNT {
        publish(&publisher, next..next + 500).await;
        next += 500;
    }
    eventually("the buffer was full", async || is_cut()).await;
    server.command(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 33554432 8388608 60",
    ]);
    publish(&publisher, next..next + 1).await;
    all_arrive(&node, 0..next + 1).await;
    let (found, filled) = gaps(&node);
    assert!(found > 0 && found == filled, "{found} {filled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_misses_no_event() {
    let server = RedisServer::start();
    let (node, publisher) = (receiving(&server.url(), "a").await, server.node("b").await);
    let mut next = 0;
    for round in 0..20 {
        publish(&publisher, next..next + 25).await;
        next += 25;
        if round % 5 == 1 {
            server.command(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"]);
        }
    }
    all_arrive(&node, 0..next).await;
}

/// A server that restarts empty has another journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_empty_recovers_nothing() {
    let mut server = RedisServer::start();
    let node = receiving(&server.url(), "a").await;
    publish(&node, 0..3).await;
    let before = present(&node).await;
    server.kill();
    server.restart();
    node.ready().await;
    eventually("it is connected", async || {
        read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Present)
            .await
            .present
            .is_some()
    })
    .await;
    publish(&node, 3..10).await;
    check_another_journal(&node, before).await;
    eventually("it is reported", async || {
        !node.inbound.gaps.lock().unwrap().is_empty()
    })
    .await;
    let gap = node.inbound.gaps.lock().unwrap()[0].clone();
    assert_eq!((gap.audience, gap.reason), (None, Unrecovered::Epoch));
}

async fn check_another_journal(node: &Node, before: Cursor) {
    for cursor in [before, Cursor { number: 1, ..before }] {
        let replay = read(node, scope(&[CHANNEL], &[]), ReplayFrom::After(cursor)).await;
        assert_eq!(
            (replay.unrecovered, replay.events.len()),
            (Some(Unrecovered::Epoch), 0)
        );
        assert_ne!(replay.present.unwrap().epoch, before.epoch);
    }
}

/// A replica that takes over may have an older copy, and reuse the numbers of events that it never received.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_is_another_journal() {
    let mut group = SentinelGroup::start();
    let node = Node::open_by(BrokerKind::Redis, &group.options(), "a");
    node.ready().await;
    node.hold_interest(channel(CHANNEL), 1).await;
    publish(&node, 0..3).await;
    let before = present(&node).await;
    group.servers[0].command(&["WAIT", "1", "1000"]);
    group.servers[0].kill();
    let first = group.servers[0].port();
    wait("another is chosen", || group.named_port() != first);
    eventually("the node follows", async || {
        let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Present).await;
        replay
            .present
            .is_some_and(|present| present.epoch != before.epoch)
    })
    .await;
    publish(&node, 3..5).await;
    check_another_journal(&node, before).await;
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Newest(10)).await;
    assert_eq!(data(&replay), ["3", "4"]);
}

/// Returns the streams of the server's journal.
fn streams(server: &RedisServer) -> Vec<String> {
    let Value::Array(keys) = server.command(&["KEYS", "fanfare:journal:*:*"]) else {
        panic!("no keys")
    };
    keys.into_iter()
        .map(|key| redis::from_redis_value(key).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicted_events_are_never_recovered() {
    let server = RedisServer::start();
    let node = server.node("a").await;
    let start = present(&node).await;
    let recovers = async |cursor: Cursor| {
        let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(cursor)).await;
        (replay.unrecovered, data(&replay).join(" "))
    };
    publish(&node, 0..3).await;
    let end = present(&node).await;
    assert_eq!(recovers(start).await, (None, "0 1 2".to_owned()));
    let stream = streams(&server).remove(0);
    let (second, third) = (
        format!("{}-0", start.number + 2),
        format!("{}-0", start.number + 3),
    );
    let entries = server.command(&["XRANGE", &stream, &second, &third]);
    let Value::Array(entries) = entries else {
        panic!("{entries:?}")
    };
    let Value::Array(entry) = &entries[0] else {
        panic!("{entries:?}")
    };
    let id: String = redis::from_redis_value(entry[0].clone()).unwrap();
    server.command(&["XDEL", &stream, &id]);
    assert_eq!(recovers(start).await, (Some(Unrecovered::Expired), String::new()));
    server.command(&["DEL", &stream]);
    assert_eq!(recovers(start).await, (Some(Unrecovered::Expired), String::new()));
    assert_eq!(recovers(end).await, (None, String::new()), "it missed nothing");
    publish(&node, 3..4).await;
    assert_eq!(recovers(end).await, (None, "3".to_owned()));
    for key in ["fanfare:journal:tops", "fanfare:journal:state"] {
        let before = present(&node).await;
        server.command(&["DEL", key]);
        assert_eq!(recovers(before).await.0, Some(Unrecovered::Epoch), "{key}");
        publish(&node, 4..5).await;
        assert_eq!(recovers(before).await.0, Some(Unrecovered::Epoch), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_other_programs_in_the_journal_are_ignored() {
    let server = RedisServer::start();
    let node = receiving(&server.url(), "a").await;
    let start = present(&node).await;
    publish(&node, 0..2).await;
    let stream = streams(&server).remove(0);
    server.command(&["XADD", &stream, "*", "hello", "world"]);
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(start)).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["0", "1"]));
    // The stream has a higher number than the journal: it begins again, and the audience is complete from there on.
    let before = present(&node).await;
    publish(&node, 2..4).await;
    all_arrive(&node, 0..4).await;
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(before)).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["2", "3"]));
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(start)).await;
    assert_eq!(replay.unrecovered, Some(Unrecovered::Expired));
    // A key of another type is in the place of the stream, then of the journal itself.
    server.command(&["SET", &stream, "x"]);
    publish(&node, 4..5).await;
    all_arrive(&node, 0..5).await;
    server.command(&["SET", "fanfare:journal:state", "x"]);
    publish(&node, 5..6).await;
    all_arrive(&node, 0..6).await;
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(before)).await;
    assert_eq!(replay.unrecovered, Some(Unrecovered::Epoch));
}

/// Above the limit of audiences, the least recently used ones are forgotten, and never recovered by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_audiences_are_not_recovered() {
    let server = RedisServer::start();
    let options = BrokerOptions {
        url: server.url(),
        max_journals: 3,
        ..BrokerOptions::default()
    };
    let node = Node::open_by(BrokerKind::Redis, &options, "a");
    node.ready().await;
    let start = present(&node).await;
    for number in 0..5 {
        node.publish_one(kept(to_channel(&format!("chat.{number}"), "1"), 10))
            .await;
    }
    let read_from =
        async |name: &str, cursor| read(&node, scope(&[name], &[]), ReplayFrom::After(cursor)).await;
    for (name, expected) in [
        ("chat.0", Some(Unrecovered::Expired)),
        ("chat.3", None),
        // The audience may have had earlier events.
        ("chat.4", Some(Unrecovered::Expired)),
        ("never", Some(Unrecovered::Expired)),
    ] {
        assert_eq!(read_from(name, start).await.unrecovered, expected, "{name}");
    }
    let now = present(&node).await;
    assert_eq!(read_from("never", now).await.unrecovered, None);
    assert_eq!(streams(&server).len(), 3);
}

/// A script that the server has forgotten is sent again, and events that it cannot keep are still published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_published_even_if_the_journal_fails() {
    let server = RedisServer::start();
    let node = receiving(&server.url(), "a").await;
    publish(&node, 0..2).await;
    server.command(&["SCRIPT", "FLUSH"]);
    publish(&node, 2..4).await;
    all_arrive(&node, 0..4).await;
    assert!(
        node.inbound
            .delivered()
            .iter()
            .all(|event| event.history.position().is_some())
    );
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    publish(&node, 4..6).await;
    all_arrive(&node, 0..6).await;
    assert!(node.inbound.delivered()[5].history.position().is_none());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["ACL", "SETUSER", "default", "-info"]);
    publish(&node, 6..7).await;
    all_arrive(&node, 0..7).await;
    server.command(&["ACL", "SETUSER", "default", "+@all"]);
    let user = Audience::Everyone;
    node.publish_one(kept(crate::harness::to(user, "7"), 1)).await;
    all_arrive(&node, 0..8).await;
    assert!(node.inbound.delivered()[7].history.position().is_some());
}

/// The journal works with the documented rights of a Redis ACL user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_for_history() {
    let server = RedisServer::start();
    server.command(&documented_rights());
    let options = BrokerOptions {
        url: server.url_for("fanfare", "password"),
        max_journals: 1,
        ..BrokerOptions::default()
    };
    let node = Node::open_by(BrokerKind::Redis, &options, "a");
    node.ready().await;
    node.hold_interest(channel(CHANNEL), 1).await;
    let start = present(&node).await;
    node.publish_one(kept(to_channel("other", "0"), 10)).await;
    publish(&node, 0..3).await;
    all_arrive(&node, 0..3).await;
    let replay = read(&node, scope(&[], &["chat.*"]), ReplayFrom::Newest(2)).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["1", "2"]));
    assert!(present(&node).await.number >= start.number + 4);
}

const FUNCTIONS: &str = include_str!("../../../../deploy/redis/fanfare.lua");

/// Events that backends publish by the function are kept as those of nodes are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_publish_into_history_by_a_function() {
    for script in [
        include_str!("../../src/redis/journal/state.lua"),
        include_str!("../../src/redis/journal/keep.lua"),
    ] {
        assert!(FUNCTIONS.contains(script), "the function does what nodes do");
    }
    let server = RedisServer::start();
    let node = receiving(&server.url(), "a").await;
    let start = present(&node).await;
    publish(&node, 0..1).await;
    server.command(&["FUNCTION", "LOAD", FUNCTIONS]);
    let call = |words: &[&str]| {
        let words = [&["FCALL", "fanfare_publish", "1"], words].concat();
        server.try_command(&words)
    };
    let publish_by =
        |message: &str| call(&["fanfare:journal:", "fanfare:channel:chat.a", "100", "60", message]);
    // The node receives it, and again by the recorder's connection if it is the recorder.
    let published = publish_by(r#"{"type":"test","payload":1}"#);
    assert!(matches!(published, Ok(Value::Int(1 | 2))), "{published:?}");
    publish(&node, 2..3).await;
    all_arrive(&node, 0..3).await;
    let replay = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::After(start)).await;
    assert_eq!((replay.unrecovered, data(&replay)), (None, vec!["0", "1", "2"]));
    for (seen, read) in node.inbound.delivered().iter().zip(&replay.events) {
        assert_eq!(
            (seen.id, seen.timestamp, seen.history),
            (read.id, read.timestamp, read.history)
        );
        assert!(
            seen.timestamp
                .elapsed()
                .is_ok_and(|age| age < std::time::Duration::from_secs(600))
        );
    }
    for message in [
        "[1]",
        "1",
        "{",
        r#"{"type":"a","payload":1,"fanfare":{}}"#,
        r#"{"type":"resume","payload":1}"#,
    ] {
        assert!(publish_by(message).is_err(), "{message}");
    }
    for words in [
        &["x", "fanfare:channel:a", "1", "1", "{}"][..],
        &["fanfare:journal:", "other", "1", "1", "{}"],
        &["fanfare:journal:", "fanfare:channel:a", "0", "1", "{}"],
        &["fanfare:journal:", "fanfare:channel:a", "1000000000", "1", "{}"],
        &["fanfare:journal:", "fanfare:channel:a", "1", "0", "{}"],
        &["fanfare:journal:", "fanfare:channel:a", "1", "1"],
        &["fanfare:journal:", "user_noti:ann", "1", "1", r#"{"payload":1}"#],
        &[
            "fanfare:journal:",
            "fanfare:everyone",
            "1",
            "1",
            r#"{"type":"a"}"#,
        ],
    ] {
        assert!(call(words).is_err(), "{words:?}");
    }
}
