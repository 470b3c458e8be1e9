//! The brokers' contract: every law holds for every broker, and some laws are for those between nodes.
#![allow(clippy::unwrap_used)]

mod away;
mod channels;
mod harness;
mod laws;
mod outside;
mod server;

use harness::Cluster;

/// Makes a test of every law for every broker.
macro_rules! contract {
    ($($file:ident: [$($law:ident),* $(,)?])*) => {
        mod memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                crate::$file::$law(&crate::Cluster::Memory).await;
            })*)*
        }
        mod redis {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                if let Some(server) = crate::server::RedisServer::start() {
                    crate::$file::$law(&crate::Cluster::Redis(server)).await;
                }
            })*)*
        }
    };
}

contract! {
    laws: [
        one_publisher_keeps_its_order,
        a_publication_arrives_as_it_was,
        receipts_count_connections_and_nodes,
        a_receipt_for_each_event,
        everyone_reaches_every_node,
        a_subscription_is_in_force_when_it_resolves,
        subscribed_again_is_subscribed,
        others_do_not_hear,
        unsubscribed_is_unheard,
        health_is_good,
        probes_go_all_the_way,
    ]
    channels: [
        a_channel_reaches_its_subscribers_alone,
        all_channels_are_heard_once,
        channels_are_held_and_let_go,
        order_holds_while_patterns_come_and_go,
    ]
}

#[test]
fn kinds() {
    let inbound = || -> std::sync::Arc<dyn fanfare_core::Inbound> { harness::Recorder::new() };
    let options = fanfare_brokers::BrokerOptions::default();
    let error = fanfare_brokers::open("carrier-pigeon", &options, inbound())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "there is no broker of this kind (there are: memory, redis)"
    );
    let options = fanfare_brokers::BrokerOptions {
        url: "http://user:secret@host".to_owned(),
        ..options
    };
    let error = fanfare_brokers::open("redis", &options, inbound()).err().unwrap();
    assert!(!error.to_string().contains("secret"), "{error}");
}
