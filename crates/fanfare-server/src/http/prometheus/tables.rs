//! The tables of the node's metrics: name, value, and help text.

use std::sync::atomic::Ordering::Relaxed;

use fanfare_accounts::Accounts;
use fanfare_engine::{MountedDialect, Node};

use super::families::{Families, MetricValue, counter, gauge};
use crate::{auth::Gate, upkeep::Upkeep};

/// A metric of each dialect: its name, its kind, its value, and the help text.
type DialectMetric = (
    &'static str,
    fn(u64) -> MetricValue,
    fn(&Node, &MountedDialect) -> u64,
    &'static str,
);
/// A counter of each dialect and reason: its name, its values, and the help text.
type ReasonCounter = (
    &'static str,
    fn(&MountedDialect) -> Vec<(&'static str, u64)>,
    &'static str,
);

#[rustfmt::skip]
pub(super) fn add_gauges(node: &Node, accounts: &Accounts, upkeep: &Upkeep, families: &mut Families) {
    let (held, observed) = (node.subscription_counts(), node.observe_figures());
    let kept = node.broker().journal_figures();
    let is_broker_up = !node.broker().figures().is_away;
    for (name, value, help) in [
        ("fanfare_channels", held.channels,
         "Different channels with subscribers, rooms included"),
        ("fanfare_channel_subscriptions", held.channel_subscriptions,
         "Subscriptions to channels by their exact names, memberships of rooms included"),
        ("fanfare_pattern_subscriptions", held.pattern_subscriptions,
         "Subscriptions to patterns"),
        ("fanfare_rooms", held.rooms,
         "Rooms with members"),
        ("fanfare_events_undecided", node.counters.events_undecided.load(Relaxed),
         "Events that wait for the authorizer's decision about a connection"),
        ("fanfare_remembered_ids", node.broker().remembered_ids().held,
         "Idempotency keys that this node remembers"),
        ("fanfare_broker_up", is_broker_up.into(),
         "1 while the node is connected to its broker; always with the embedded one"),
        ("fanfare_draining", node.is_draining().into(),
         "1 while the server drains"),
        ("fanfare_database_up", accounts.storage().outage().is_none().into(),
         "1 while the database is available"),
        ("fanfare_traces_armed", observed.armed,
         "Traces that are armed"),
        ("fanfare_traced_events", observed.traces,
         "Traced events that the node keeps"),
        ("fanfare_traced_connections_followed", observed.connections_followed,
         "Connections of traced events whose sockets are watched, at most observe.max_traced_connections of an \
          event and as many of its user"),
        ("fanfare_tails", observed.tails,
         "Open tails"),
        ("fanfare_history_journals", kept.journals,
         "Users and channels with a journal in this process or at the broker, everyone included; with Redis, at most \
          history.max_journals"),
        ("fanfare_history_watched", kept.watched,
         "Users and channels that this node watches for lost events, at most history.max_watched"),
        ("fanfare_history_entries", kept.entries,
         "Events kept in this process for clients that resume"),
        ("fanfare_history_bytes", kept.bytes,
         "Bytes of these events, at most history.max_bytes"),
        ("fanfare_history_copies_awaited", kept.awaited,
         "Events that backends published by plain PUBLISH on a real Redis, and whose recorded copies this node \
          waits for"),
        ("fanfare_last_reload_timestamp_seconds", upkeep.reloads.last_success(),
         "When the configuration was last reloaded, in seconds since 1970; 0 if that was at the start"),
        ("fanfare_last_reload_successful", (!upkeep.reloads.has_failed()).into(),
         "0 if the last reload was refused, so that earlier settings are in force; otherwise 1"),
        ("fanfare_last_acme_order_successful", (!upkeep.orders.has_failed()).into(),
         "0 if the last order of a certificate failed; otherwise 1"),
    ] {
        families.add(name, help, [], [([], gauge(value))]);
    }
}

#[rustfmt::skip]
pub(super) fn add_counters(node: &Node, families: &mut Families) {
    let (counters, broker, observed) = (&node.counters, node.broker().figures(), node.observe_figures());
    for (name, value, help) in [
        ("fanfare_events_total", counters.events.load(Relaxed),
         "Events received from the broker"),
        ("fanfare_broker_reconnects_total", broker.reconnects,
         "Reconnects of the connection that receives from the broker"),
        ("fanfare_peers_lost_total", broker.peers_lost,
         "Other nodes that died: they did not report until they were forgotten"),
        ("fanfare_notices_dropped_total", broker.notices_dropped,
         "Notices that other nodes will not receive: there were too many while the broker was away, or one was too \
          large"),
        ("fanfare_publications_received_total", counters.publications_received.load(Relaxed),
         "Publications received from the broker or by the Redis-protocol door"),
        ("fanfare_publications_rejected_total", counters.publications_rejected.load(Relaxed),
         "Publications dropped because they were malformed"),
        ("fanfare_ids_evicted_total", node.broker().remembered_ids().evicted,
         "Idempotency keys forgotten before their time, because broker.max_remembered_ids was reached"),
        ("fanfare_handshakes_timed_out_total", counters.handshakes_timed_out.load(Relaxed),
         "Connections cut because their request was not complete in time"),
        ("fanfare_requests_rate_limited_total", counters.requests_rate_limited.load(Relaxed),
         "Requests and handshakes refused because their address exceeded its rate"),
        ("fanfare_accept_errors_total", counters.accept_errors.load(Relaxed),
         "Failures to accept a connection"),
        ("fanfare_traces_refused_total", observed.armed_refused,
         "Traces not armed, because observe.max_armed was reached"),
        ("fanfare_traced_events_evicted_total", observed.traces_evicted,
         "Traced events evicted, because observe.max_traces was reached"),
        ("fanfare_traced_connections_left_out_total", observed.connections_left_out,
         "Connections not recorded in a trace, because observe.max_traced_connections was reached"),
        ("fanfare_tails_refused_total", observed.tails_refused,
         "Tails refused, because observe.max_tails was reached"),
        ("fanfare_tail_events_lost_total", observed.tail_events_lost,
         "Events that tails have lost, because observe.tail_queue, observe.tail_queue_size or \
          observe.max_tail_events_per_second was reached"),
    ] {
        families.add(name, help, [], [([], counter(value))]);
    }
}

#[rustfmt::skip]
pub(super) fn add_presence_and_history(node: &Node, families: &mut Families) {
    let presence = node.broker().presence_counts();
    let kept = node.broker().journal_figures();
    for (name, value, help) in [
        ("fanfare_presence_entered_total", presence.entered,
         "Users entered in rooms at the broker, each by its first connection on this node; again after an outage"),
        ("fanfare_presence_leases_total", presence.leases,
         "Leases that this node has acquired at the broker: one at the start, and one after each loss"),
        ("fanfare_presence_leases_cleaned_total", presence.cleaned_leases,
         "Leases of dead nodes that this node has removed"),
        ("fanfare_presence_rooms_compared_total", presence.compared_rooms,
         "Rooms whose members this node has compared with the broker's after an outage"),
        ("fanfare_slots_refused_total", presence.refused_slots,
         "Names and places refused because the connections of all nodes together hold them"),
        ("fanfare_presence_refused_total", presence.refused,
         "Calls about presence that the broker refused; until it accepts them, this node counts its own \
          connections alone"),
        ("fanfare_presence_unstored_total", presence.unstored,
         "Changes of a room's members that the broker had no room for, counted at each attempt"),
        ("fanfare_member_lists_left_out_total", presence.lists_left_out,
         "Lists of a room's members not sent, because the room has more than limits.max_listed_members"),
        ("fanfare_rooms_unlisted_total", presence.unlisted,
         "Rooms whose members were not read from the broker, because they have more than limits.max_known_members"),
        ("fanfare_fan_outs_full_total", node.counters.fan_outs_full.load(Relaxed),
         "Times that a shard put off as many deliveries as limits.max_fan_out_receivers allows, so that events for \
          few connections waited"),
        ("fanfare_history_evicted_total", kept.evicted,
         "Events dropped before their time, because history.max_bytes was reached"),
        ("fanfare_history_replayed_total", node.counters.replayed.load(Relaxed),
         "Events replayed to clients"),
        ("fanfare_history_gaps_found_total", kept.gaps_found,
         "Gaps in the numbers of events that this node has found"),
        ("fanfare_history_gaps_filled_total", kept.gaps_filled,
         "Gaps that this node has filled"),
        ("fanfare_history_gaps_lost_total", kept.gaps_lost,
         "Gaps that it could not fill: the events are not kept any more, or are more than history.max_fetched"),
        ("fanfare_history_recorded_total", kept.recorded,
         "Events that backends published by plain PUBLISH on a real Redis, and that this node recorded for all \
          nodes"),
        ("fanfare_history_unrecorded_total", kept.unrecorded,
         "Such events that this node delivered without a cursor, because no node had recorded them in time"),
    ] {
        families.add(name, help, [], [([], counter(value))]);
    }
}

#[rustfmt::skip]
pub(super) fn add_durations(node: &Node, accounts: &Accounts, families: &mut Families) {
    for (name, histogram, help) in [
        ("fanfare_delivery_seconds", Some(&*node.counters.delivery),
         "From an event's arrival at this node until it was written or queued for every matching connection; once for \
          each batch of events that matched a connection"),
        ("fanfare_queue_wait_seconds", Some(&node.counters.queue_wait),
         "From an event's arrival at this node until a shard began its delivery; once for each turn of a shard, for the \
          event that waited longest"),
        ("fanfare_broker_round_trip_seconds", node.broker().round_trips(),
         "A message of this node through the broker and back, every few seconds"),
        ("fanfare_handshake_seconds", Some(&node.counters.handshake),
         "From a WebSocket handshake's request until its connection was admitted"),
        ("fanfare_database_seconds", Some(accounts.storage().operations()),
         "Operations on the database, the wait for a connection and failed ones included"),
    ] {
        let value = histogram.map(|histogram| ([], MetricValue::Histogram(histogram.into())));
        families.add(name, help, [], value);
    }
}

/// Adds the counters with a label, each with the label's name.
#[rustfmt::skip]
pub(super) fn add_labelled(node: &Node, gate: &Gate, accounts: &Accounts, upkeep: &Upkeep, families: &mut Families) {
    let (broker, authorizer) = (node.broker().figures(), node.access.authorizer_counts());
    let answers = [("allowed", authorizer.allowed), ("denied", authorizer.denied), ("failed", authorizer.failed)];
    for (name, label, counts, help) in [
        ("fanfare_publications_degraded_total", "cause", broker.degraded,
         "Publications that other nodes may have missed, by cause: the broker was away or refused them \
          (broker_away), a node did not receive (node_missing) or did not reply in time (timed_out), or their ids \
          are not shared (ids_not_shared)"),
        ("fanfare_broker_messages_ignored_total", "reason", broker.ignored,
         "Messages on the broker that were ignored: not of the documented form (malformed), larger than 8 MiB \
          (too_large), of a kind that this version of the nodes does not know (other_version), or no message of \
          nodes at all (garbage)"),
        ("fanfare_resumes_total", "outcome", node.counters.resumes.all(),
         "Resumes of clients: recovered, or why not: the events are not kept any more (expired), the cursor is of \
          another history (epoch), there are more than history.replay_limit (limit), or it is no cursor (unknown)"),
        ("fanfare_spans_total", "result", node.span_recorder.get().map_or_else(Vec::new, |recorder| recorder.counts()),
         "Spans for the collector: exported, dropped (too many waited), or failed (the collector was unavailable, \
          slow, or refused them)"),
        ("fanfare_authorizer_answers_total", "answer", answers.into(),
         "Answers of the authorizer: allowed, denied, or failed"),
        ("fanfare_token_cache_lookups_total", "result", gate.cache_counts().into(),
         "Tokens looked up in the cache of verified tokens: a hit needs no verification, a miss does"),
        ("fanfare_logins_total", "result", accounts.logins().all().into(),
         "How logins ended: succeeded, refused (a wrong address or password), limited (too many failures), \
          busy (too many wait for a hash), failed (the database)"),
        ("fanfare_registrations_total", "result", accounts.registrations().all().into(),
         "How registrations ended: succeeded, refused (a mistake, or a taken address), limited (too many from one \
          address), busy (too many wait for a hash), failed (the database)"),
        ("fanfare_refreshes_total", "result", accounts.refreshes().all().into(),
         "How refreshes ended: succeeded, refused (a bad token), limited (too many of those from one address), \
          busy (never), failed (the database)"),
        ("fanfare_reloads_total", "outcome", upkeep.reloads.named(["applied", "refused"]).into(),
         "Reloads of the configuration: applied, or refused because of an error in it"),
        ("fanfare_acme_orders_total", "outcome", upkeep.orders.named(["succeeded", "failed"]).into(),
         "Orders of certificates at the ACME directory, by their outcome: succeeded or failed"),
    ] {
        let values = counts.iter().map(|(name, count)| ([*name], counter(*count)));
        families.add(name, help, [label], values);
    }
    families.add(
        "fanfare_peers", "Other nodes: live, or missing (they do not report, and may miss events)",
        ["state"], broker.peers.into_iter().map(|(state, count)| ([state], gauge(count))),
    );
    let ends = upkeep.certificate_ends();
    let ends = ends.iter().filter_map(|(listener, end)| Some(([&**listener], gauge((*end)?))));
    families.add(
        "fanfare_certificate_end_timestamp_seconds", "When the certificate of a listener ends, in seconds since 1970",
        ["listener"], ends,
    );
}

#[rustfmt::skip]
pub(super) const DIALECT_VALUES: [DialectMetric; 12] = [
    ("fanfare_connections", gauge, |node, mounted| node.dialect_facts(mounted).active,
     "Open connections"),
    ("fanfare_users", gauge, |node, mounted| node.dialect_facts(mounted).users,
     "Different users among the open connections"),
    ("fanfare_connections_max", gauge, |_, mounted| mounted.settings().max_connections as u64,
     "The most connections allowed"),
    ("fanfare_subscriptions", gauge, |_, mounted| mounted.counters.subscriptions.load(Relaxed),
     "Subscriptions of the open connections"),
    ("fanfare_connections_opened_total", counter, |_, mounted| mounted.counters.opened.load(Relaxed),
     "Connections opened"),
    ("fanfare_messages_sent_total", counter, |_, mounted| mounted.counters.sent.load(Relaxed),
     "Messages written or queued to clients"),
    ("fanfare_messages_abandoned_total", counter, |_, mounted| mounted.counters.abandoned.load(Relaxed),
     "Messages queued to a client that disconnected before they were written"),
    ("fanfare_messages_dropped_total", counter, |_, mounted| mounted.counters.dropped.load(Relaxed),
     "Messages that did not fit a client's full queue"),
    ("fanfare_messages_received_total", counter, |_, mounted| mounted.counters.received.load(Relaxed),
     "Messages received from clients"),
    ("fanfare_messages_rate_limited_total", counter, |_, mounted| mounted.counters.rate_limited.load(Relaxed),
     "Messages from clients dropped unread because their sender sent too many"),
    ("fanfare_connection_errors_total", counter, |_, mounted| mounted.counters.errors.load(Relaxed),
     "Connections ended by an error"),
    ("fanfare_render_faults_total", counter, |_, mounted| mounted.counters.render_faults.load(Relaxed),
     "Events that a dialect failed to render"),
];

#[rustfmt::skip]
pub(super) const REASON_COUNTERS: [ReasonCounter; 2] = [
    ("fanfare_connections_ended_total", |mounted| mounted.counters.endings.all(),
     "Connections ended by the server"),
    ("fanfare_handshakes_refused_total", |mounted| mounted.counters.refusals.all(),
     "Handshakes refused"),
];
