//! The brokers' contract: laws that hold for every broker, and laws of one kind of server.
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

/// Makes a test of every law for each kind of Redis.
macro_rules! on_redis {
    ([$redis:ident $sentinel:ident $cluster:ident] $($laws:tt)*) => {
        on! { $redis, crate::Cluster::Redis(crate::server::RedisServer::start()), $($laws)* }
        on! { $sentinel, crate::Cluster::sentinel(), $($laws)* }
        on! { $cluster, crate::Cluster::redis_cluster(), $($laws)* }
    };
}

/// Makes a test of every law for every broker.
macro_rules! on_all {
    ([$memory:ident $nats:ident $($redis:ident)*] $($laws:tt)*) => {
        on! { $memory, crate::Cluster::Memory, $($laws)* }
        on! { $nats, crate::Cluster::Nats(crate::nats_server::NatsServer::start()), $($laws)* }
        on_redis! { [$($redis)*] $($laws)* }
    };
}

on_all! {
    [memory on_nats redis redis_sentinel redis_cluster]
    laws: [
        one_publisher_keeps_its_order,
        a_publication_arrives_unchanged,
        receipts_count_connections_and_nodes,
        a_receipt_for_each_event,
        everyone_reaches_every_node,
        a_subscription_is_in_force_when_it_resolves,
        a_renewed_subscription_is_in_force,
        only_subscribers_receive,
        no_event_is_delivered_after_unsubscribing,
        health_is_good,
        probes_travel_through_the_server,
    ]
    channels: [
        a_channel_reaches_only_its_subscribers,
        an_event_on_any_channel_is_delivered_once,
        channels_are_subscribed_and_unsubscribed,
        order_is_kept_while_patterns_change,
    ]
    questions: [
        every_node_answers,
        a_thousand_questions_at_once,
        answers_that_fail_are_missing,
        a_question_ends_in_time_if_a_node_never_answers,
        large_messages_travel_whole,
    ]
    notices: [
        notices_reach_every_node_once_and_in_order,
        a_panic_in_a_handler_affects_no_other_notice,
    ]
    ids: [
        an_id_is_new_once,
        one_of_many_callers_claims_an_id,
        receipts_are_stored_unchanged,
        a_node_counts_the_ids_that_it_remembers,
        many_ids_in_one_call,
    ]
}

on_all! {
    [presence_in_memory presence_on_nats presence_on_redis presence_on_sentinel presence_on_cluster]
    presence: [
        a_user_joins_with_the_first_connection_and_leaves_with_the_last,
        the_list_and_later_changes_are_consistent,
        a_subscriber_outside_the_room_misses_no_change,
        all_nodes_show_changes_in_one_order,
        many_nodes_change_one_room,
        slots_are_counted_over_all_nodes,
        rooms_users_and_slots_may_have_any_name,
        a_node_that_shuts_down_releases_its_members_and_slots_at_once,
        members_of_a_dead_node_leave_once_within_ten_seconds,
    ]
    room_lists: [a_list_of_too_many_members_is_left_out]
}

on_all! {
    [history_in_memory history_on_nats history_on_redis history_on_sentinel history_on_cluster]
    history: [
        kept_events_are_delivered_with_their_positions,
        missed_events_are_read_in_order,
        removed_events_are_not_recovered,
        expired_events_are_not_recovered_and_a_current_cursor_is,
        unknown_cursors_recover_nothing,
        more_than_the_limit_is_not_replayed,
        the_newest_events_are_read_without_a_cursor,
        history_is_read_page_by_page,
        events_of_all_nodes_are_numbered_in_one_order,
        private_events_keep_their_user,
        an_event_on_a_new_subscription_has_its_position,
    ]
}

on_redis! {
    [recorder_on_redis recorder_on_sentinel recorder_on_cluster]
    recorder_laws: [
        events_of_backends_are_kept_and_delivered_once,
        the_standby_of_a_recorder_that_dies_records_the_rest,
    ]
}

#[test]
fn errors_about_a_url_have_no_secret() {
    let inbound: std::sync::Arc<dyn fanfare_core::Inbound> = harness::FakeConnections::new();
    let options = fanfare_transports::BrokerOptions {
        url: "http://user:secret@host".to_owned(),
        ..Default::default()
    };
    let error = fanfare_transports::open(fanfare_transports::BrokerKind::Redis, &options, inbound)
        .err()
        .unwrap();
    assert!(!error.to_string().contains("secret"), "{error}");
}
