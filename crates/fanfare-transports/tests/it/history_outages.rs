//! History while a node's connections to Redis are cut.

use std::sync::atomic::Ordering;

use fanfare_core::Interest;
use fanfare_transports::{BrokerKind, BrokerOptions};

use crate::{
    harness::{Node, channel, eventually, to_channel},
    history::{kept, position},
    proxy::Proxy,
    server::RedisServer,
};

async fn publish(node: &Node, name: &str, data: u32) {
    node.publish_one(kept(to_channel(name, &data.to_string()), 100))
        .await;
}

/// Returns a node with this interest behind a proxy, a node that publishes, and the proxy.
async fn cut_off(server: &RedisServer, interest: Interest) -> (Node, Node, Proxy) {
    let proxy = Proxy::to(server.address()).await;
    let options = BrokerOptions {
        url: proxy.url_to(&server.url()),
        ..BrokerOptions::default()
    };
    let node = Node::open_by(BrokerKind::Redis, &options, "a");
    node.inbound.keeps.store(true, Ordering::SeqCst);
    node.ready().await;
    node.hold_interest(interest, 1).await;
    let publisher = server.node("b").await;
    publish(&publisher, "chat.a", 0).await;
    eventually("it arrives", async || node.inbound.delivered().len() == 1).await;
    (node, publisher, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_a_pattern_are_fetched_after_an_outage() {
    let server = RedisServer::start();
    let (node, publisher, proxy) = cut_off(&server, Interest::AllChannels).await;
    proxy.set_open(false);
    for (data, name) in (1..).zip(["chat.b", "chat.a", "chat.c", "chat.b"]) {
        publish(&publisher, name, data).await;
    }
    proxy.set_open(true);
    eventually("all have arrived", async || node.inbound.delivered().len() == 5).await;
    publish(&publisher, "chat.c", 5).await;
    eventually("all have arrived", async || node.inbound.delivered().len() == 6).await;
    assert_eq!(node.inbound.data(), ["0", "1", "2", "3", "4", "5"]);
    assert!(node.inbound.gaps.lock().unwrap().is_empty());
    assert_eq!(node.broker.journal_figures().journals, 3);
    // Events for everyone, too, if the node kept history when it began to search for gaps.
    assert!((3..=4).contains(&node.broker.journal_figures().watched));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_events_keep_their_order_among_lost_events() {
    let server = RedisServer::start();
    let (node, publisher, proxy) = cut_off(&server, channel("chat.a")).await;
    for first in [1, 4, 7] {
        proxy.set_open(false);
        publish(&publisher, "chat.a", first).await;
        proxy.set_open(true);
        // Its subscriptions are not in force, or only just.
        let is_kept = async || {
            publish(&node, "chat.a", first + 1).await;
            node.inbound
                .delivered()
                .last()
                .unwrap()
                .history
                .position()
                .is_some()
        };
        eventually("Redis is back", is_kept).await;
        publish(&node, "chat.a", first + 2).await;
    }
    eventually("the last has arrived", async || {
        node.inbound.data().contains(&"9".to_owned())
    })
    .await;
    let seen = node.inbound.delivered();
    let kept = seen.iter().filter(|event| event.history.position().is_some());
    let numbers: Vec<u64> = kept.map(|event| position(event).number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    for first in [1, 4, 7] {
        assert!(
            node.inbound.data().contains(&first.to_string()),
            "{:?}",
            node.inbound.data()
        );
    }
}
