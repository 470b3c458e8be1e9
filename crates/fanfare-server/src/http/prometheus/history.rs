//! The metrics of history.

use std::sync::atomic::Ordering::Relaxed;

use fanfare_core::journal::JournalFigures;
use fanfare_engine::Node;
use prometheus::{Error, Opts, Registry};

use super::{counters, gauges};

/// Registers what is kept, and what became of the questions for it.
pub(super) fn register(node: &Node, registry: &Registry) -> Result<(), Error> {
    let kept = node
        .broker()
        .map(|broker| broker.journal_figures())
        .unwrap_or_default();
    for (name, help, value) in [
        (
            "fanfare_history_journals",
            "Users and channels whose history is known in this process or to the broker, everyone included; with Redis, \
             history.max_journals is the most",
            kept.journals,
        ),
        (
            "fanfare_history_watched",
            "Users and channels that this node watches for events that were lost on the way; history.max_watched is the most",
            kept.watched,
        ),
        (
            "fanfare_history_entries",
            "Events kept in this process for clients that were away",
            kept.entries,
        ),
        (
            "fanfare_history_bytes",
            "Their bytes; history.max_bytes is the most",
            kept.bytes,
        ),
    ] {
        gauges(registry, Opts::new(name, help), [], vec![([], value)])?;
    }
    register_counters(node, kept, registry)
}

fn register_counters(node: &Node, kept: JournalFigures, registry: &Registry) -> Result<(), Error> {
    for (name, help, value) in [
        (
            "fanfare_history_evicted_total",
            "Events dropped before their time, because history.max_bytes was reached",
            kept.evicted,
        ),
        (
            "fanfare_history_replayed_total",
            "Events replayed to clients",
            node.counters.replayed.load(Relaxed),
        ),
        (
            "fanfare_history_gaps_found_total",
            "Holes in the numbers of events that this node has found",
            kept.gaps_found,
        ),
        (
            "fanfare_history_gaps_filled_total",
            "Those of them that it has filled",
            kept.gaps_filled,
        ),
        (
            "fanfare_history_gaps_lost_total",
            "Those of them that it could not fill: the events are not kept any more, or are more than history.max_fetched",
            kept.gaps_lost,
        ),
    ] {
        counters(registry, Opts::new(name, help), [], vec![([], value)])?;
    }
    let help = "Clients that asked for what they missed: recovered, or why not: it is not kept any more (expired), the \
                cursor is of another history (epoch), it is more than history.replay_limit (limit), or it is no cursor (unknown)";
    let outcomes = node
        .counters
        .resumes
        .all()
        .into_iter()
        .map(|(outcome, count)| ([outcome], count));
    counters(
        registry,
        Opts::new("fanfare_resumes_total", help),
        ["outcome"],
        outcomes.collect(),
    )
}
