//! History when JetStream loses data.

use std::time::Duration;

use fanfare_core::{
    history::{Cursor, Unrecovered},
    journal::ReplayFrom,
};
use fanfare_transports::{BrokerKind, BrokerOptions};

use crate::{
    harness::{Node, RECEIPT, channel, eventually, to_channel},
    history::{data, kept, kept_for, present, read, scope},
    nats::documented_rights,
    nats_server::NatsServer,
};

const CHANNEL: &str = "chat.a";

async fn publish(node: &Node, numbers: std::ops::Range<u32>, size: u32) {
    let events = numbers.map(|number| kept(to_channel(CHANNEL, &number.to_string()), size));
    node.broker.publish(events.collect(), RECEIPT).await;
}

async fn recovers(node: &Node, cursor: Cursor) -> (Option<Unrecovered>, String) {
    let replay = read(node, scope(&[CHANNEL], &[]), ReplayFrom::After(cursor)).await;
    (replay.unrecovered, data(&replay).join(" "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_no_event() {
    let mut server = NatsServer::start();
    let node = server.node("a").await;
    let start = present(&node).await;
    publish(&node, 0..3, 10).await;
    server.kill();
    server.restart();
    eventually("the journal answers", async || {
        recovers(&node, start).await.0.is_none()
    })
    .await;
    assert_eq!(recovers(&node, start).await, (None, "0 1 2".to_owned()));
    publish(&node, 3..4, 10).await;
    assert_eq!(recovers(&node, start).await, (None, "0 1 2 3".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_removed_is_another_journal() {
    let server = NatsServer::start();
    let (node, other) = (server.node("a").await, server.node("b").await);
    other.hold_interest(channel(CHANNEL), 1).await;
    publish(&node, 0..3, 10).await;
    let before = present(&node).await;
    server.publish("$JS.API.STREAM.DELETE.fanfare-journal", b"");
    // Events before a node has created the stream again are delivered and not kept.
    publish(&node, 3..4, 10).await;
    publish(&node, 4..9, 10).await;
    eventually("all have arrived", async || other.inbound.delivered().len() == 9).await;
    for cursor in [before, Cursor { number: 1, ..before }] {
        assert_eq!(
            recovers(&node, cursor).await,
            (Some(Unrecovered::Epoch), String::new())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_events_are_never_recovered() {
    let server = NatsServer::start();
    let node = server.node("a").await;
    let start = present(&node).await;
    publish(&node, 0..10, 20).await;
    let end = present(&node).await;
    let purge = |text: &str| server.publish("$JS.API.STREAM.PURGE.fanfare-journal", text.as_bytes());
    assert_eq!(recovers(&node, start).await.0, None);
    purge(r#"{"seq":5}"#);
    eventually("it is not whole", async || {
        recovers(&node, start).await == (Some(Unrecovered::Expired), String::new())
    })
    .await;
    let middle = Cursor {
        number: end.number - 5,
        ..end
    };
    assert_eq!(recovers(&node, middle).await, (None, "5 6 7 8 9".to_owned()));
    purge("");
    eventually("nothing is left", async || {
        recovers(&node, middle).await == (Some(Unrecovered::Expired), String::new())
    })
    .await;
    assert_eq!(
        recovers(&node, end).await,
        (None, String::new()),
        "it missed nothing"
    );
}

/// The stream keeps more events than the audience's size until a node purges it. The older ones are not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_beyond_the_size_are_purged() {
    let server = NatsServer::start();
    let node = server.node("a").await;
    let start = present(&node).await;
    publish(&node, 0..200, 5).await;
    let newest = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Newest(100)).await;
    assert_eq!(data(&newest), ["195", "196", "197", "198", "199"]);
    assert_eq!(recovers(&node, start).await.0, Some(Unrecovered::Expired));
    // The size of the newest event counts.
    publish(&node, 200..201, 100).await;
    let newest = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Newest(100)).await;
    assert!(newest.events.len() < 100, "{}", newest.events.len());
    assert_eq!(recovers(&node, start).await.0, Some(Unrecovered::Expired));
}

/// Events that were purged by a smaller size stay missing when a larger size is configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_by_a_smaller_size_stays_known() {
    let server = NatsServer::start();
    let node = server.node("a").await;
    let start = present(&node).await;
    publish(&node, 0..200, 1000).await;
    assert_eq!(recovers(&node, start).await.0, None);
    publish(&node, 200..300, 100).await;
    eventually("more than the size was purged", async || {
        recovers(&node, start).await.0 == Some(Unrecovered::Expired)
    })
    .await;
    publish(&node, 300..301, 1000).await;
    assert_eq!(recovers(&node, start).await.0, Some(Unrecovered::Expired));
    let end = present(&node).await;
    publish(&node, 301..303, 1000).await;
    assert_eq!(recovers(&node, end).await, (None, "301 302".to_owned()));
}

/// A rewind searches for the newest events from the end, even among many events of other channels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_events_are_found_among_events_of_other_channels() {
    let server = NatsServer::start();
    let node = server.node("a").await;
    for number in 0..6 {
        publish(&node, number..number + 1, 10).await;
        let others = (0..100).map(|_| kept(to_channel("other", "0"), 1000));
        node.broker.publish(others.collect(), RECEIPT).await;
    }
    for (count, expected) in [(1, "5"), (4, "2 3 4 5"), (9, "0 1 2 3 4 5")] {
        let newest = read(&node, scope(&[CHANNEL], &[]), ReplayFrom::Newest(count)).await;
        assert_eq!(data(&newest).join(" "), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_for_history() {
    let server = NatsServer::start_with(&format!(
        "jetstream {{ store_dir: FOLDER }}\n{}",
        documented_rights()
    ));
    let options = BrokerOptions {
        url: server.url_for("fanfare", "password"),
        ..BrokerOptions::default()
    };
    let node = Node::open_by(BrokerKind::Nats, &options, "a");
    node.ready().await;
    node.hold_interest(channel(CHANNEL), 1).await;
    let start = present(&node).await;
    publish(&node, 0..3, 10).await;
    assert_eq!(recovers(&node, start).await, (None, "0 1 2".to_owned()));
    eventually("all have arrived", async || node.inbound.delivered().len() == 3).await;
    assert!(
        node.inbound
            .delivered()
            .iter()
            .all(|event| event.history.position().is_some())
    );
    let short = Duration::from_millis(1);
    node.publish_one(kept_for(to_channel(CHANNEL, "3"), 10, short))
        .await;
    eventually("it is too old", async || {
        let replay = read(&node, scope(&[], &["chat.*"]), ReplayFrom::Newest(3)).await;
        data(&replay) == ["1", "2"]
    })
    .await;
}
