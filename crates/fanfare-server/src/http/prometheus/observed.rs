//! The metrics of traces and tails.

use fanfare_engine::ObserveFigures;

/// A metric without labels: its name, its meaning and its value.
type OfObservers = (&'static str, &'static str, fn(&ObserveFigures) -> u64);

pub(super) const GAUGES: &[OfObservers] = &[
    ("fanfare_traces_armed", "Traces that are armed", |figures| {
        figures.armed
    }),
    (
        "fanfare_traced_events",
        "Traced events that the node keeps",
        |figures| figures.traces,
    ),
    (
        "fanfare_traced_connections_followed",
        "Connections of traced events whose sockets are looked at, at most observe.max_traced_connections of an event and as many of its user",
        |figures| figures.connections_followed,
    ),
    ("fanfare_tails", "Open tails", |figures| figures.tails),
];

pub(super) const COUNTERS: &[OfObservers] = &[
    (
        "fanfare_traces_refused_total",
        "Traces not armed, because observe.max_armed was reached",
        |figures| figures.armed_refused,
    ),
    (
        "fanfare_traced_events_evicted_total",
        "Traced events evicted, because observe.max_traces was reached",
        |figures| figures.traces_evicted,
    ),
    (
        "fanfare_traced_connections_left_out_total",
        "Connections not recorded in a trace, because observe.max_traced_connections was reached",
        |figures| figures.connections_left_out,
    ),
    (
        "fanfare_tails_refused_total",
        "Tails refused, because observe.max_tails was reached",
        |figures| figures.tails_refused,
    ),
    (
        "fanfare_tail_events_lost_total",
        "Events that tails have lost, because observe.tail_queue, observe.tail_queue_size or observe.max_tail_events_per_second was reached",
        |figures| figures.tail_events_lost,
    ),
];
