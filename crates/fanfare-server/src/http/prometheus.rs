//! The node's figures as Prometheus metrics.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::{
    Encoder, Error, Gauge, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::engine::{MountedDialect, Node};

/// Renders everything this node counts. The engine's counters are plain atomics; metrics are made of them at a scrape.
pub(super) fn render(node: &Node) -> Result<Vec<u8>, Error> {
    let registry = Registry::new();
    documented(node, &registry)?;
    of_node(node, &registry)?;
    of_dialects(node, &registry)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

/// The names that existing dashboards know. They count all dialects.
fn documented(node: &Node, registry: &Registry) -> Result<(), Error> {
    let sum =
        |figure: fn(&MountedDialect) -> u64| node.dialects.iter().map(|mounted| figure(mounted)).sum::<u64>();
    let opened = sum(|mounted| mounted.counters.opened.load(Relaxed));
    let sent = sum(|mounted| mounted.counters.sent.load(Relaxed));
    let active = IntGauge::new(
        "websocket_active_connections",
        "Number of active WebSocket connections",
    )?;
    active.set(i64::try_from(node.active()).unwrap_or(i64::MAX));
    register(registry, active)?;
    counter(
        registry,
        "websocket_total_connections",
        "Total number of connections since server start",
        &[],
        &[(&[], opened)],
    )?;
    counter(
        registry,
        "websocket_notifications_sent",
        "Total number of notifications sent",
        &[],
        &[(&[], sent)],
    )?;
    gauge(
        registry,
        "websocket_server_uptime_seconds",
        "Server uptime in seconds",
        node.uptime().as_secs_f64(),
    )
}

fn of_node(node: &Node, registry: &Registry) -> Result<(), Error> {
    let counters = &node.counters;
    for (name, help, value) in [
        (
            "fanfare_publications_received_total",
            "Publications received from the broker or by the Redis-protocol door",
            &counters.publications_received,
        ),
        (
            "fanfare_publications_rejected_total",
            "Publications dropped because they were malformed",
            &counters.publications_rejected,
        ),
        (
            "fanfare_handshakes_timed_out_total",
            "Connections cut because their request was not complete in time",
            &counters.handshakes_timed_out,
        ),
        (
            "fanfare_requests_rate_limited_total",
            "Requests and handshakes refused because their address came too often",
            &counters.requests_rate_limited,
        ),
        (
            "fanfare_accept_errors_total",
            "Failures to accept a connection",
            &counters.accept_errors,
        ),
    ] {
        counter(registry, name, help, &[], &[(&[], value.load(Relaxed))])?;
    }
    gauge(
        registry,
        "fanfare_draining",
        "1 while the server drains",
        f64::from(u8::from(node.is_draining())),
    )
}

fn of_dialects(node: &Node, registry: &Registry) -> Result<(), Error> {
    type Figure = fn(&Node, &MountedDialect) -> u64;
    let gauges: [(&str, &str, Figure); 3] = [
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
            |_, mounted| mounted.settings.max_connections as u64,
        ),
    ];
    for (name, help, figure) in gauges {
        let family = IntGaugeVec::new(Opts::new(name, help), &["dialect"])?;
        for mounted in shown(node) {
            let value = i64::try_from(figure(node, mounted)).unwrap_or(i64::MAX);
            family.with_label_values(&[mounted.name]).set(value);
        }
        register(registry, family)?;
    }
    let counters: [(&str, &str, Figure); 7] = [
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
    for (name, help, figure) in counters {
        let values: Vec<_> = shown(node)
            .map(|mounted| ([mounted.name], figure(node, mounted)))
            .collect();
        let values: Vec<_> = values
            .iter()
            .map(|(labels, value)| (labels.as_slice(), *value))
            .collect();
        counter(registry, name, help, &["dialect"], &values)?;
    }
    labelled(
        node,
        registry,
        "fanfare_connections_ended_total",
        "Connections ended by the server",
        |mounted| mounted.counters.endings.all(),
    )?;
    labelled(
        node,
        registry,
        "fanfare_handshakes_refused_total",
        "Handshakes refused",
        |mounted| mounted.counters.refusals.all(),
    )
}

/// The dialects that are of interest: one that listens nowhere by default only where it was used.
fn shown(node: &Node) -> impl Iterator<Item = &MountedDialect> {
    let used = |mounted: &&MountedDialect| mounted.counters.opened.load(Relaxed) > 0;
    let dialects = node.dialects.iter().map(|mounted| &**mounted);
    dialects.filter(move |mounted| !mounted.hidden || used(mounted))
}

/// A family with a label for the reason.
fn labelled(
    node: &Node,
    registry: &Registry,
    name: &str,
    help: &str,
    counts: fn(&MountedDialect) -> Vec<(&'static str, u64)>,
) -> Result<(), Error> {
    let all = shown(node).flat_map(|mounted| {
        counts(mounted)
            .into_iter()
            .map(|(reason, count)| ([mounted.name, reason], count))
    });
    let all: Vec<_> = all.collect();
    let values: Vec<_> = all
        .iter()
        .map(|(labels, count)| (labels.as_slice(), *count))
        .collect();
    counter(registry, name, help, &["dialect", "reason"], &values)
}

fn gauge(registry: &Registry, name: &str, help: &str, value: f64) -> Result<(), Error> {
    let gauge = Gauge::with_opts(Opts::new(name, help))?;
    gauge.set(value);
    register(registry, gauge)
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    values: &[(&[&str], u64)],
) -> Result<(), Error> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    for (labels, value) in values {
        family.with_label_values(labels).inc_by(*value);
    }
    register(registry, family)
}

fn register(registry: &Registry, collector: impl Collector + 'static) -> Result<(), Error> {
    registry.register(Box::new(collector))
}
