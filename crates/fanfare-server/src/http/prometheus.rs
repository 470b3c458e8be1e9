//! The node's Prometheus metrics, in tables: name, help text, and value.

mod families;
mod histogram;
mod history;
mod observed;
mod text;
mod upkeep;

use std::sync::atomic::Ordering::Relaxed;

use fanfare_accounts::Accounts;
use fanfare_core::{Figure, FigureValue};
use fanfare_engine::{MountedDialect, Node};
use prost::Message;

use crate::{auth::Gate, upkeep::Upkeep};
use families::{Families, MetricValue, Number};

/// A metric without labels: its name, its meaning and its value.
type OfNode = (&'static str, &'static str, fn(&Node) -> u64);
/// A metric with a value for each dialect.
type OfDialect = (&'static str, &'static str, fn(&Node, &MountedDialect) -> u64);
/// A metric with a value for each dialect and reason.
type OfReason = (
    &'static str,
    &'static str,
    fn(&MountedDialect) -> Vec<(&'static str, u64)>,
);

/// The formats of Prometheus that a scrape may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text, format 0.0.4. Histograms are classic ones.
    Text,
    /// Protobuf. Histograms are classic and native ones.
    Protobuf,
}

impl Format {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

const NODE_GAUGES: &[OfNode] = &[
    (
        "fanfare_channels",
        "Different channels with subscribers, rooms included",
        |node| node.holdings().channels,
    ),
    (
        "fanfare_channel_subscriptions",
        "Subscriptions to channels by their exact names, memberships of rooms included",
        |node| node.holdings().channel_subscriptions,
    ),
    (
        "fanfare_pattern_subscriptions",
        "Subscriptions to patterns",
        |node| node.holdings().pattern_subscriptions,
    ),
    ("fanfare_rooms", "Rooms with somebody in them", |node| {
        node.holdings().rooms
    }),
    (
        "fanfare_events_undecided",
        "Events waiting for the authorizer to say whether a connection may have them",
        |node| node.counters.events_undecided.load(Relaxed),
    ),
    (
        "fanfare_remembered_ids",
        "Ids of published events that this node remembers, so that a repeat is not published again",
        |node| node.remembered_ids().held,
    ),
    (
        "fanfare_broker_up",
        "1 while the node is connected to its broker; always with the embedded one",
        |node| u64::from(node.broker().is_some() && !node.broker_figures().is_away),
    ),
    ("fanfare_draining", "1 while the server drains", |node| {
        u64::from(node.is_draining())
    }),
];

const NODE_COUNTERS: &[OfNode] = &[
    (
        "fanfare_events_total",
        "Events that the broker brought to this node",
        |node| node.counters.events.load(Relaxed),
    ),
    (
        "fanfare_broker_reconnects_total",
        "Times that the connection which receives from the broker was opened again",
        |node| node.broker_figures().reconnects,
    ),
    (
        "fanfare_peers_lost_total",
        "Other nodes that died: they were missing until they were forgotten",
        |node| node.broker_figures().peers_lost,
    ),
    (
        "fanfare_notices_dropped_total",
        "Notices that other nodes will not receive: there were too many while the broker was away, or one was too large",
        |node| node.broker_figures().notices_dropped,
    ),
    (
        "fanfare_publications_received_total",
        "Publications received from the broker or by the Redis-protocol door",
        |node| node.counters.publications_received.load(Relaxed),
    ),
    (
        "fanfare_publications_rejected_total",
        "Publications dropped because they were malformed",
        |node| node.counters.publications_rejected.load(Relaxed),
    ),
    (
        "fanfare_ids_evicted_total",
        "Ids of published events forgotten before their time, because broker.max_remembered_ids was reached",
        |node| node.remembered_ids().evicted,
    ),
    (
        "fanfare_presence_entered_total",
        "Users entered in rooms at the broker, as the first connection of theirs on this node; again after an outage",
        |node| node.presence_counts().entered,
    ),
    (
        "fanfare_presence_leases_total",
        "Leases that this node has taken at the broker: one at the start, and one each time it was lost",
        |node| node.presence_counts().leases,
    ),
    (
        "fanfare_presence_leases_cleaned_total",
        "Dead nodes' leases that this node has cleaned up after",
        |node| node.presence_counts().cleaned_leases,
    ),
    (
        "fanfare_presence_rooms_compared_total",
        "Rooms whose members this node has compared with the broker's after an outage",
        |node| node.presence_counts().compared_rooms,
    ),
    (
        "fanfare_slots_refused_total",
        "Names and places refused because the connections of all nodes together hold them",
        |node| node.presence_counts().refused_slots,
    ),
    (
        "fanfare_presence_refused_total",
        "Calls about presence that the broker refused; until it accepts them, this node counts its own connections alone",
        |node| node.presence_counts().refused,
    ),
    (
        "fanfare_presence_unstored_total",
        "Changes of a room's members that the broker had no room for, each again when it was tried again",
        |node| node.presence_counts().unstored,
    ),
    (
        "fanfare_member_lists_left_out_total",
        "Lists of a room's members not sent, because the room has more than limits.max_listed_members",
        |node| node.presence_counts().lists_left_out,
    ),
    (
        "fanfare_rooms_unlisted_total",
        "Rooms whose members were not read from the broker, because they have more than limits.max_known_members",
        |node| node.presence_counts().unlisted,
    ),
    (
        "fanfare_fan_outs_full_total",
        "Times that a shard put off as many deliveries as limits.max_fan_out_receivers allows, so that events for few connections waited",
        |node| node.counters.fan_outs_full.load(Relaxed),
    ),
    (
        "fanfare_handshakes_timed_out_total",
        "Connections cut because their request was not complete in time",
        |node| node.counters.handshakes_timed_out.load(Relaxed),
    ),
    (
        "fanfare_requests_rate_limited_total",
        "Requests and handshakes refused because their address came too often",
        |node| node.counters.requests_rate_limited.load(Relaxed),
    ),
    (
        "fanfare_accept_errors_total",
        "Failures to accept a connection",
        |node| node.counters.accept_errors.load(Relaxed),
    ),
];

const DIALECT_GAUGES: &[OfDialect] = &[
    ("fanfare_connections", "Open connections", |node, mounted| {
        node.dialect_facts(mounted).active
    }),
    (
        "fanfare_users",
        "Different users among the open connections",
        |node, mounted| node.dialect_facts(mounted).users,
    ),
    (
        "fanfare_connections_max",
        "The most connections allowed",
        |_, mounted| mounted.settings().max_connections as u64,
    ),
    (
        "fanfare_subscriptions",
        "Subscriptions of the open connections, to whatever",
        |_, mounted| mounted.counters.subscriptions.load(Relaxed),
    ),
];

const DIALECT_COUNTERS: &[OfDialect] = &[
    (
        "fanfare_connections_opened_total",
        "Connections opened",
        |_, mounted| mounted.counters.opened.load(Relaxed),
    ),
    (
        "fanfare_messages_sent_total",
        "Messages written or queued to clients",
        |_, mounted| mounted.counters.sent.load(Relaxed),
    ),
    (
        "fanfare_messages_abandoned_total",
        "Messages queued to a client that was gone before it had taken them",
        |_, mounted| mounted.counters.abandoned.load(Relaxed),
    ),
    (
        "fanfare_messages_dropped_total",
        "Messages a client's full queue could not take",
        |_, mounted| mounted.counters.dropped.load(Relaxed),
    ),
    (
        "fanfare_messages_received_total",
        "Messages received from clients",
        |_, mounted| mounted.counters.received.load(Relaxed),
    ),
    (
        "fanfare_messages_rate_limited_total",
        "Messages from clients dropped unread because their sender sent too many",
        |_, mounted| mounted.counters.rate_limited.load(Relaxed),
    ),
    (
        "fanfare_connection_errors_total",
        "Connections ended by an error",
        |_, mounted| mounted.counters.errors.load(Relaxed),
    ),
    (
        "fanfare_render_faults_total",
        "Events that a dialect failed to render",
        |_, mounted| mounted.counters.render_faults.load(Relaxed),
    ),
];

const REASON_COUNTERS: &[OfReason] = &[
    (
        "fanfare_connections_ended_total",
        "Connections ended by the server",
        |mounted| mounted.counters.endings.all(),
    ),
    (
        "fanfare_handshakes_refused_total",
        "Handshakes refused",
        |mounted| mounted.counters.refusals.all(),
    ),
];

/// Renders everything this node counts. The engine's counters are plain atomics; metrics are made of them at a scrape.
pub(super) fn render(
    format: Format,
    node: &Node,
    gate: &Gate,
    accounts: &Accounts,
    upkeep: &Upkeep,
) -> Vec<u8> {
    let mut families = Families::default();
    of_documents(node, &mut families);
    of_node(node, &mut families);
    durations(node, accounts, &mut families);
    of_broker(node, &mut families);
    history::of_history(node, &mut families);
    of_spans(node, &mut families);
    of_authorizer(node, &mut families);
    of_gate(gate, &mut families);
    of_accounts(accounts, &mut families);
    upkeep::of_upkeep(upkeep, &mut families);
    of_dialects(node, &mut families);
    let Families(mut families) = families;
    families.sort_by(|one, other| one.name.cmp(&other.name));
    match format {
        Format::Text => text::text(&families).into(),
        Format::Protobuf => families
            .iter()
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect(),
    }
}

fn of_node(node: &Node, families: &mut Families) {
    for (name, help, value) in NODE_GAUGES {
        families.gauge(name, help, value(node));
    }
    for (name, help, value) in NODE_COUNTERS {
        families.counter(name, help, value(node));
    }
    let observed = node.observe_figures();
    for (name, help, value) in observed::GAUGES {
        families.gauge(name, help, value(&observed));
    }
    for (name, help, value) in observed::COUNTERS {
        families.counter(name, help, value(&observed));
    }
}

/// The metrics of the dialects' documents, under the names in existing dashboards.
fn of_documents(node: &Node, families: &mut Families) {
    let facts = node.facts();
    for mounted in &node.dialects {
        for Figure { name, help, value } in mounted.dialect.figures(&facts, &node.dialect_facts(mounted)) {
            let value = match value {
                FigureValue::Counter(count) => MetricValue::Counter(count.into()),
                FigureValue::Gauge(count) => MetricValue::Gauge(count.into()),
                FigureValue::Seconds(value) => MetricValue::Gauge(Number { value }),
            };
            families.add(name, help, [], [([], value)]);
        }
    }
}

fn durations(node: &Node, accounts: &Accounts, families: &mut Families) {
    let histograms = [
        (
            "fanfare_delivery_seconds",
            "From an event's arrival at this node until every matching connection had it, written or queued; once for \
             each batch of events that matched a connection",
            Some(&*node.counters.delivery),
        ),
        (
            "fanfare_queue_wait_seconds",
            "From an event's arrival at this node until a shard took it up; once for each turn of a shard, by the event \
             that waited longest",
            Some(&node.counters.queue_wait),
        ),
        (
            "fanfare_broker_round_trip_seconds",
            "A message of this node through the broker and back, every few seconds",
            node.broker().and_then(|broker| broker.round_trips()),
        ),
        (
            "fanfare_handshake_seconds",
            "From a WebSocket handshake's request until its connection was admitted",
            Some(&node.counters.handshake),
        ),
        (
            "fanfare_database_seconds",
            "Operations on the database, the wait for a connection and failed ones included",
            Some(accounts.storage().operations()),
        ),
    ];
    for (name, help, histogram) in histograms {
        let value = histogram.map(|histogram| ([], MetricValue::Histogram(histogram.into())));
        families.add(name, help, [], value);
    }
}

fn of_broker(node: &Node, families: &mut Families) {
    let figures = node.broker_figures();
    families.counters(
        "fanfare_publications_degraded_total",
        "Publications that other nodes may have missed, by cause: the broker was away or refused them \
         (broker_away), a node did not receive (node_missing) or did not reply in time (timed_out), or their ids \
         are not shared (ids_not_shared)",
        ["cause"],
        by_name(figures.degraded),
    );
    families.counters(
        "fanfare_broker_messages_ignored_total",
        "Messages on the broker that were ignored: not of the documented form (malformed), larger than 8 MiB \
         (too_large), of a kind that this version of the nodes does not know (other_version), or no message of \
         nodes at all (garbage)",
        ["reason"],
        by_name(figures.ignored),
    );
    families.gauges(
        "fanfare_peers",
        "Other nodes: live, or missing (those may miss what is published)",
        ["state"],
        by_name(figures.peers),
    );
}

fn of_spans(node: &Node, families: &mut Families) {
    families.counters(
        "fanfare_spans_total",
        "What became of the spans for the collector: exported, dropped (too many waited for it), failed (it was \
         away, slow or refused them)",
        ["result"],
        by_name(node.span_counts().into_iter().flatten()),
    );
}

fn of_authorizer(node: &Node, families: &mut Families) {
    let counts = node.access.authorizer_counts();
    families.counters(
        "fanfare_authorizer_answers_total",
        "How questions to the authorizer ended: with a yes, with a no, or without an answer",
        ["answer"],
        by_name([
            ("allowed", counts.allowed),
            ("denied", counts.denied),
            ("failed", counts.failed),
        ]),
    );
}

fn of_gate(gate: &Gate, families: &mut Families) {
    families.counters(
        "fanfare_token_cache_lookups_total",
        "Tokens looked up in the cache of verified tokens: a hit needs no verification, a miss does",
        ["result"],
        by_name(gate.cache_counts()),
    );
}

fn of_accounts(accounts: &Accounts, families: &mut Families) {
    families.counters(
        "fanfare_logins_total",
        "How logins ended: succeeded, refused (a wrong address or password), limited (too many failures), \
         busy (too many wait for a hash), failed (the database)",
        ["result"],
        by_name(accounts.logins().all()),
    );
    families.counters(
        "fanfare_registrations_total",
        "How registrations ended: succeeded, refused (a mistake, or a taken address), limited (too many from one \
         address), busy (too many wait for a hash), failed (the database)",
        ["result"],
        by_name(accounts.registrations().all()),
    );
    families.counters(
        "fanfare_refreshes_total",
        "How refreshes ended: succeeded, refused (a bad token), limited (too many of those from one address), \
         busy (never), failed (the database)",
        ["result"],
        by_name(accounts.refreshes().all()),
    );
    families.gauge(
        "fanfare_database_up",
        "1 while the database does what it is asked",
        u64::from(accounts.storage().is_up()),
    );
}

fn of_dialects(node: &Node, families: &mut Families) {
    let each = |value: &OfDialect| {
        let value = value.2;
        shown(node).map(move |mounted| ([mounted.name], value(node, mounted)))
    };
    for metric @ (name, help, _) in DIALECT_GAUGES {
        families.gauges(name, help, ["dialect"], each(metric));
    }
    for metric @ (name, help, _) in DIALECT_COUNTERS {
        families.counters(name, help, ["dialect"], each(metric));
    }
    for (name, help, counts) in REASON_COUNTERS {
        let values = shown(node).flat_map(|mounted| {
            let counts = counts(mounted).into_iter();
            counts.map(|(reason, count)| ([mounted.name, reason], count))
        });
        families.counters(name, help, ["dialect", "reason"], values);
    }
}

/// Returns the dialects to show: one that is off by default only if it was used.
fn shown(node: &Node) -> impl Iterator<Item = &MountedDialect> {
    let used = |mounted: &&MountedDialect| mounted.counters.opened.load(Relaxed) > 0;
    let dialects = node.dialects.iter().map(|mounted| &**mounted);
    dialects.filter(move |mounted| !mounted.hidden || used(mounted))
}

/// Returns counts with their names as the only label.
fn by_name<'a>(
    counts: impl IntoIterator<Item = (&'a str, u64)>,
) -> impl Iterator<Item = ([&'a str; 1], u64)> {
    counts.into_iter().map(|(name, count)| ([name], count))
}

#[cfg(test)]
mod tests;
