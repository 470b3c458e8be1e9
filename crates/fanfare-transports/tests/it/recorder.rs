//! Events that backends publish by plain `PUBLISH` are kept: one node records them for all, and another takes over from it.

use std::{
    collections::HashSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use fanfare_core::{history::Unrecovered, journal::ReplayFrom};
use fanfare_transports::{BrokerKind, BrokerOptions};
use redis::Value;

use crate::{
    harness::{Node, channel, eventually, to_channel},
    history::{data, kept, position, present, read, scope},
    recorder_laws::{CHANNEL, after, arrived, elected, field, node, publish, texts},
    rights::documented_rights,
    server::RedisServer,
    stall::Stall,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_was_paused_records_nothing_twice() {
    let server = RedisServer::start();
    let stall = Stall::to(server.address()).await;
    let recorder = node(&stall.url(), "a").await;
    elected(&server, false).await;
    let first = field(&server, "holder");
    let other = node(&server.url(), "b").await;
    elected(&server, true).await;
    let start = present(&other).await;
    publish(&server, 0..20);
    stall.set_paused(true);
    publish(&server, 20..40);
    eventually("another takes over", async || field(&server, "holder") != first).await;
    publish(&server, 40..60);
    arrived(&other, 60).await;
    stall.set_paused(false);
    publish(&server, 60..80);
    for node in [&other, &recorder] {
        let seen = arrived(node, 80).await;
        assert_eq!(node.inbound.data(), texts(0..80));
        assert!(seen.iter().all(|event| event.history.position().is_some()));
    }
    assert_eq!(after(&other, start).await, Ok(texts(0..80)));
}

/// Publications that a recorder has received and not recorded are not settled: its standby records them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_keeps_the_backlog_of_a_recorder_that_dies() {
    const COUNT: u32 = 10_000;
    let server = RedisServer::start();
    let recorder = node(&server.url(), "a").await;
    elected(&server, false).await;
    let other = node(&server.url(), "b").await;
    elected(&server, true).await;
    publish(&server, 0..1);
    let seen = arrived(&other, 1).await;
    let start = position(&seen[0]).cursor();
    let event = |number| format!(r#"{{"to":{{"channel":"big.{number}"}},"data":{number}}}"#);
    let events: Vec<String> = (0..COUNT).map(event).collect();
    let number = |name: &str| field(&server, name).parse::<u64>().unwrap();
    let (first, before) = (field(&server, "holder"), number("tick"));
    server.command(&["PUBLISH", "fanfare:events", &format!("[{}]", events.join(","))]);
    eventually("it has renewed its lease behind that", async || {
        number("tick") > before + 1
    })
    .await;
    drop(recorder);
    let died = number("tick");
    eventually("another has recorded the rest", async || {
        field(&server, "holder") != first && number("settled") > died
    })
    .await;
    let last = COUNT - 1;
    let channel = format!("big.{last}");
    let replay = read(&other, scope(&[&channel], &[]), ReplayFrom::After(start)).await;
    // On a busy machine the standby's lease may end, too. Then no node records the rest, and the cursor expires.
    if replay.unrecovered != Some(Unrecovered::Expired) {
        assert_eq!(data(&replay), [last.to_string()]);
    }
}

/// Publications that no node received are not kept, and no earlier cursor is recovered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recovered_from_before_a_time_without_a_recorder() {
    let server = RedisServer::start();
    let first = node(&server.url(), "a").await;
    elected(&server, false).await;
    publish(&server, 0..2);
    let seen = arrived(&first, 2).await;
    let cursor = position(&seen[1]).cursor();
    assert_eq!(after(&first, cursor).await, Ok(Vec::new()));
    first.broker.close().await;
    drop(first);
    publish(&server, 2..4);
    let next = node(&server.url(), "a").await;
    elected(&server, false).await;
    assert_eq!(after(&next, cursor).await, Err(Unrecovered::Expired));
    let now = present(&next).await;
    publish(&server, 4..6);
    arrived(&next, 2).await;
    assert_eq!(after(&next, now).await, Ok(texts(4..6)));
    assert_eq!(after(&next, cursor).await, Err(Unrecovered::Expired));
}

/// Before the first recorded publication, the end of a recorder expires no cursor, unless an operator has declared that backends publish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_publication_is_recorded_if_backends_are_declared() {
    for (is_declared, expected) in [(true, Err(Unrecovered::Expired)), (false, Ok(Vec::new()))] {
        let server = RedisServer::start();
        if is_declared {
            server.command(&["HSET", "fanfare:journal:recorder", "used", "1"]);
        }
        let first = node(&server.url(), "a").await;
        elected(&server, false).await;
        let cursor = present(&first).await;
        drop(first);
        publish(&server, 0..1);
        let next = node(&server.url(), "b").await;
        elected(&server, false).await;
        assert_eq!(after(&next, cursor).await, expected, "{is_declared}");
    }
}

/// Redis may evict only the lease. The journal still remembers that publications were recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recovered_from_before_redis_evicted_the_lease() {
    let server = RedisServer::start();
    let first = node(&server.url(), "a").await;
    elected(&server, false).await;
    publish(&server, 0..1);
    let seen = arrived(&first, 1).await;
    let cursor = position(&seen[0]).cursor();
    let is_noted = || server.command(&["HEXISTS", "fanfare:journal:state", "used"]) == Value::Int(1);
    eventually("it is noted that it records", async || is_noted()).await;
    drop(first);
    server.command(&["DEL", "fanfare:journal:recorder"]);
    publish(&server, 1..2);
    let next = node(&server.url(), "b").await;
    elected(&server, false).await;
    assert_eq!(after(&next, cursor).await, Err(Unrecovered::Expired));
}

/// Without the right to receive all publications, no node records. Events are delivered, and no earlier cursor is recovered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_recorder_events_are_delivered_and_cursors_expire() {
    let server = RedisServer::start();
    server.command(&documented_rights());
    server.command(&["ACL", "SETUSER", "fanfare", "-psubscribe"]);
    let node = node(&server.url_for("fanfare", "password"), "a").await;
    let start = present(&node).await;
    publish(&server, 0..3);
    let seen = arrived(&node, 3).await;
    assert_eq!(node.inbound.data(), texts(0..3));
    assert!(seen.iter().all(|event| event.history.position().is_none()));
    assert_eq!(after(&node, start).await, Err(Unrecovered::Expired));
    assert_eq!(node.broker.journal_figures().unrecorded, 3);
    server.command(&["ACL", "SETUSER", "fanfare", "+psubscribe"]);
    elected(&server, false).await;
    let now = present(&node).await;
    publish(&server, 3..4);
    arrived(&node, 4).await;
    assert_eq!(after(&node, now).await, Ok(texts(3..4)));
}

/// While recorders start, end and hang, every event arrives once. A client that resumes from any cursor receives all later events, or an
/// error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_once_while_recorders_change() {
    const COUNT: u32 = 3000;
    let server = RedisServer::start();
    let options = BrokerOptions {
        url: server.url(),
        ..BrokerOptions::default()
    };
    let observer = Node::open_by(BrokerKind::Redis, &options, "observer");
    let observer_keeps = &observer.inbound.keeps;
    observer_keeps.store(true, Ordering::SeqCst);
    observer.ready().await;
    observer.hold_interest(channel(CHANNEL), 1).await;
    let stall = Stall::to(server.address()).await;
    elected(&server, false).await;
    let url = server.url();
    let publishing = std::thread::spawn(move || {
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_connection().unwrap();
        for number in 0..COUNT {
            let message = format!(r#"{{"type":"test","payload":{number}}}"#);
            let command = redis::cmd("PUBLISH")
                .arg("fanfare:channel:chat.a")
                .arg(message)
                .to_owned();
            command.query::<Value>(&mut connection).unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let begin = Instant::now();
    let (mut round, mut resumed) = (0_u32, Vec::new());
    while !publishing.is_finished() && begin.elapsed() < Duration::from_secs(60) {
        round += 1;
        let other = node(&stall.url(), &format!("n{round}")).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        let last = observer.inbound.delivered();
        let last = last.iter().rfind(|event| event.history.position().is_some());
        let cursor = last.map(|event| (event.id, position(event).cursor()));
        if round.is_multiple_of(3) {
            // The observer may be the recorder, and this node its standby.
            server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        } else {
            stall.set_paused(true);
            tokio::time::sleep(Duration::from_millis(900)).await;
            stall.set_paused(false);
        }
        if let Some((id, cursor)) = cursor {
            resumed.push((id, after(&observer, cursor).await));
        }
        drop(other);
    }
    publishing.join().unwrap();
    // Unrecorded publications do not arrive while the observer's connection is cut.
    let mut count = 0;
    eventually("nothing more arrives", async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        std::mem::replace(&mut count, observer.inbound.delivered().len()) == count
    })
    .await;
    let seen = observer.inbound.delivered();
    let distinct: HashSet<&str> = seen.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(distinct.len(), seen.len(), "nothing arrives twice");
    let kept = seen
        .iter()
        .filter(|event| event.history.position().is_some())
        .count();
    eprintln!("{round} rounds: {} arrived, {kept} kept", seen.len());
    assert!(kept > 0);
    let mut recovered = 0;
    for (id, replayed) in resumed {
        let Ok(replayed) = replayed else { continue };
        let at = seen.iter().position(|event| event.id == id).unwrap();
        let behind = seen[at + 1..].iter().take(replayed.len());
        let expected: Vec<&str> = behind.map(|event| event.data.as_str()).collect();
        assert_eq!(replayed, expected, "after {}", seen[at].data.as_str());
        recovered += usize::from(!replayed.is_empty());
    }
    eprintln!("{recovered} recovered");
}

/// A node whose configuration has no history for the audience delivers the original, and not the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_history_delivers_once() {
    let server = RedisServer::start();
    let recorder = node(&server.url(), "a").await;
    elected(&server, false).await;
    let other = node(&server.url(), "b").await;
    other.inbound.keeps.store(false, Ordering::SeqCst);
    publish(&server, 0..3);
    arrived(&recorder, 3).await;
    let receipt = recorder.publish_one(kept(to_channel(CHANNEL, "3"), 10)).await;
    assert_eq!(receipt.nodes, 2);
    assert_eq!(other.inbound.data(), texts(0..4));
}

/// A tick that the store cannot save for lack of memory is not published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tick_is_published_without_memory_for_it() {
    let server = RedisServer::start();
    let node = node(&server.url(), "a").await;
    elected(&server, false).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    connection
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut listener = connection.as_pubsub();
    listener.psubscribe("*").unwrap();
    let mut ticks = || {
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < Duration::from_secs(1) {
            let message = listener
                .get_message()
                .and_then(|message| message.get_payload::<String>());
            count += u32::from(message.is_ok_and(|text| text.contains(r#""tick":["#)));
        }
        count
    };
    assert!(ticks() > 2);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    publish(&server, 0..3);
    ticks(); // one may have been on its way
    assert_eq!(ticks(), 0);
    arrived(&node, 3).await;
    assert_eq!(node.inbound.data(), texts(0..3));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    publish(&server, 3..4);
    arrived(&node, 4).await;
}

/// Events of users are recorded once their history is turned on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_of_users_is_turned_on() {
    let server = RedisServer::start();
    let node = Node::open(BrokerKind::Redis, &server.url(), "a");
    node.inbound.forgets_users.store(true, Ordering::SeqCst);
    node.inbound.keeps.store(true, Ordering::SeqCst);
    node.ready().await;
    node.hold("alice", 1).await;
    elected(&server, false).await;
    node.inbound.forgets_users.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.command(&["PUBLISH", "user_noti:alice", r#"{"type":"test","payload":1}"#]);
    let seen = arrived(&node, 1).await;
    assert!(seen[0].history.position().is_some());
}

/// Publications from before a new term are delivered before those that the term records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_that_missed_publications_keeps_the_order() {
    let server = RedisServer::start();
    let node = node(&server.url(), "a").await;
    elected(&server, false).await;
    // Another recorder, which records nothing.
    let next = |name: &str, by: u64| (field(&server, name).parse::<u64>().unwrap() + by).to_string();
    let (term, lasts) = (next("term", 1), next("tick", 2));
    let key = "fanfare:journal:recorder";
    server.command(&["HSET", key, "holder", "other", "term", &term, "lasts", &lasts]);
    publish(&server, 0..3);
    eventually("it takes over", async || field(&server, "holder") != "other").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    publish(&server, 3..6);
    let seen = arrived(&node, 6).await;
    assert_eq!(node.inbound.data(), texts(0..6));
    assert!(seen[2].history.position().is_none() && seen[3].history.position().is_some());
}

/// Right after the only recorder has died, unrecorded publications are unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recovered_by_mistake_while_the_lease_of_a_dead_recorder_lasts() {
    let server = RedisServer::start();
    let first = node(&server.url(), "a").await;
    elected(&server, false).await;
    publish(&server, 0..2);
    let seen = arrived(&first, 2).await;
    let cursor = position(&seen[1]).cursor();
    drop(first);
    publish(&server, 2..4);
    let next = node(&server.url(), "b").await;
    assert_eq!(after(&next, cursor).await, Err(Unrecovered::Expired));
    let now = present(&next).await;
    publish(&server, 4..6);
    arrived(&next, 2).await;
    assert_eq!(after(&next, now).await, Ok(texts(4..6)));
    // It does not know that the floor was raised before it started.
    let third = node(&server.url(), "c").await;
    third.publish_one(kept(to_channel(CHANNEL, "6"), 10)).await;
    eventually("it has compared its numbers", async || {
        third.broker.journal_figures().journals > 0
    })
    .await;
    assert_eq!(third.inbound.gaps.lock().unwrap().len(), 0);
}

/// A new term records no earlier publication. Clients that resumed right before it are notified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_that_missed_publications_is_reported_to_clients_that_just_resumed() {
    let server = RedisServer::start();
    let node = node(&server.url(), "a").await;
    elected(&server, false).await;
    publish(&server, 0..1);
    let seen = arrived(&node, 1).await;
    let cursor = position(&seen[0]).cursor();
    assert_eq!(after(&node, cursor).await, Ok(Vec::new()));
    let next = |name: &str, by: u64| (field(&server, name).parse::<u64>().unwrap() + by).to_string();
    let (term, lasts) = (next("term", 1), next("tick", 2));
    let key = "fanfare:journal:recorder";
    server.command(&["HSET", key, "holder", "other", "term", &term, "lasts", &lasts]);
    assert_eq!(after(&node, cursor).await, Ok(Vec::new()));
    eventually("it is reported", async || {
        !node.inbound.gaps.lock().unwrap().is_empty()
    })
    .await;
    let gap = node.inbound.gaps.lock().unwrap()[0].clone();
    assert_eq!((gap.audience, gap.reason), (None, Unrecovered::Expired));
    assert_eq!(after(&node, cursor).await, Err(Unrecovered::Expired));
}
