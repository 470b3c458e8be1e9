//! The metrics of history.

use std::sync::atomic::Ordering::Relaxed;

use fanfare_core::journal::JournalFigures;
use fanfare_engine::Node;

use super::{by_name, families::Families};

/// Adds what is kept, and what became of the questions for it.
pub(super) fn of_history(node: &Node, families: &mut Families) {
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
        (
            "fanfare_history_copies_awaited",
            "Events that backends published by plain PUBLISH on a real Redis, and whose recorded copies this node waits for",
            kept.awaited,
        ),
    ] {
        families.gauge(name, help, value);
    }
    add_counters(node, &kept, families);
}

fn add_counters(node: &Node, kept: &JournalFigures, families: &mut Families) {
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
        (
            "fanfare_history_recorded_total",
            "Events that backends published by plain PUBLISH on a real Redis, and that this node recorded for all nodes",
            kept.recorded,
        ),
        (
            "fanfare_history_unrecorded_total",
            "Such events that this node delivered without a cursor, because no node had recorded them in time",
            kept.unrecorded,
        ),
    ] {
        families.counter(name, help, value);
    }
    families.counters(
        "fanfare_resumes_total",
        "Clients that asked for what they missed: recovered, or why not: it is not kept any more (expired), the \
         cursor is of another history (epoch), it is more than history.replay_limit (limit), or it is no cursor (unknown)",
        ["outcome"],
        by_name(node.counters.resumes.all()),
    );
}
