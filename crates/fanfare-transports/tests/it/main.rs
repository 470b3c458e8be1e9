//! The brokers' contract: every law holds for every broker, and some laws are for those between nodes.
#![allow(clippy::unwrap_used)]

mod away;
mod channels;
mod deaf;
mod events;
mod failover;
mod groups;
mod harness;
mod history;
mod history_faults;
mod history_faults_nats;
mod history_outages;
mod ids;
mod laws;
mod nats;
mod nats_rooms;
mod nats_server;
mod notices;
mod other_programs;
mod presence;
mod presence_faults;
mod process;
mod proxy;
mod questions;
mod recorder;
mod recorder_laws;
mod rights;
mod room_lists;
mod rooms;
mod server;
mod slots;
mod stall;
mod tls;

use harness::Cluster;

/// Makes a test of every law for one broker.
macro_rules! on {
    ($broker:ident, $cluster:expr, $($file:ident: [$($law:ident),* $(,)?])*) => {
        mod $broker {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                crate::$file::$law(&$cluster).await;
            })*)*
        }
    };
}

/// Makes a test of every law for every broker.
macro_rules! contract {
    ($($laws:tt)*) => {
        on! { memory, crate::Cluster::Memory, $($laws)* }
        on! { on_nats, crate::Cluster::Nats(crate::nats_server::NatsServer::start()), $($laws)* }
        on! { redis, crate::Cluster::Redis(crate::server::RedisServer::start()), $($laws)* }
        on! { redis_sentinel, crate::Cluster::sentinel(), $($laws)* }
        on! { redis_cluster, crate::Cluster::redis_cluster(), $($laws)* }
    };
}

/// Makes a test of every law for every broker that counts presence over all nodes, and for the one of a single node.
macro_rules! presence_contract {
    ($($laws:tt)*) => {
        on! { presence_in_memory, crate::Cluster::Memory, $($laws)* }
        on! { presence_on_nats, crate::Cluster::Nats(crate::nats_server::NatsServer::start()), $($laws)* }
        on! { presence_on_redis, crate::Cluster::Redis(crate::server::RedisServer::start()), $($laws)* }
        on! { presence_on_sentinel, crate::Cluster::sentinel(), $($laws)* }
        on! { presence_on_cluster, crate::Cluster::redis_cluster(), $($laws)* }
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
    questions: [
        every_node_answers,
        a_thousand_questions_at_once,
        answers_that_fail_are_missing,
        a_node_that_never_answers_is_not_waited_for_long,
        large_messages_travel_whole,
    ]
    notices: [
        all_are_told_once_and_in_order,
        a_panic_in_hearing_harms_nobody,
    ]
    ids: [
        an_id_is_new_once,
        one_of_many_gets_an_id,
        receipts_are_kept_as_they_are,
        a_node_counts_what_it_remembers,
        many_ids_in_one_call,
    ]
}

presence_contract! {
    presence: [
        a_user_joins_with_the_first_connection_and_leaves_with_the_last,
        the_list_and_what_follows_fit_together,
        who_only_receives_misses_no_change,
        all_nodes_show_one_order,
        many_nodes_change_one_room,
        slots_are_counted_over_all_nodes,
        any_name_is_a_name,
        a_node_that_ends_releases_what_it_holds_at_once,
        a_node_that_dies_is_forgotten_once_within_ten_seconds,
    ]
    room_lists: [a_list_of_too_many_members_is_left_out]
}

/// Makes a test of every law for every broker that keeps history.
macro_rules! history_contract {
    ($($laws:tt)*) => {
        on! { history_in_memory, crate::Cluster::Memory, $($laws)* }
        on! { history_on_nats, crate::Cluster::Nats(crate::nats_server::NatsServer::start()), $($laws)* }
        on! { history_on_redis, crate::Cluster::Redis(crate::server::RedisServer::start()), $($laws)* }
        on! { history_on_sentinel, crate::Cluster::sentinel(), $($laws)* }
        on! { history_on_cluster, crate::Cluster::redis_cluster(), $($laws)* }
    };
}

history_contract! {
    history: [
        kept_events_are_delivered_with_their_places,
        what_was_missed_is_read_in_order,
        what_is_gone_is_not_recovered,
        what_is_too_old_is_gone_and_who_missed_nothing_is_recovered,
        strange_cursors_recover_nothing,
        more_than_the_limit_is_not_replayed,
        the_newest_are_read_without_a_cursor,
        history_is_read_page_by_page,
        all_nodes_number_in_one_order,
        private_events_keep_whom_they_are_for,
        an_event_has_its_place_though_the_subscription_is_new,
    ]
}

/// Makes a test of every law for every kind of Redis, on which backends publish past all nodes.
macro_rules! recorder_contract {
    ($($laws:tt)*) => {
        on! { recorder_on_redis, crate::Cluster::Redis(crate::server::RedisServer::start()), $($laws)* }
        on! { recorder_on_sentinel, crate::Cluster::sentinel(), $($laws)* }
        on! { recorder_on_cluster, crate::Cluster::redis_cluster(), $($laws)* }
    };
}

recorder_contract! {
    recorder_laws: [
        what_is_published_on_redis_is_kept_and_delivered_once,
        the_standby_of_a_recorder_that_dies_records_the_rest,
    ]
}

#[test]
fn errors_about_a_url_have_no_secret() {
    let inbound: std::sync::Arc<dyn fanfare_core::Inbound> = harness::Recorder::new();
    let options = fanfare_transports::BrokerOptions {
        url: "http://user:secret@host".to_owned(),
        ..Default::default()
    };
    let error = fanfare_transports::open(fanfare_transports::BrokerKind::Redis, &options, inbound)
        .err()
        .unwrap();
    assert!(!error.to_string().contains("secret"), "{error}");
}
