//! The node's Prometheus metrics.

mod families;
mod tables;
mod text;

use std::sync::atomic::Ordering::Relaxed;

use fanfare_accounts::Accounts;
use fanfare_core::{Figure, FigureValue};
use fanfare_engine::{MountedDialect, Node};
use prost::Message;

use crate::{auth::Gate, upkeep::Upkeep};
use families::{Families, MetricValue, Number, counter, gauge};

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

/// Renders all metrics of this node.
pub(super) fn render(
    format: Format,
    node: &Node,
    gate: &Gate,
    accounts: &Accounts,
    upkeep: &Upkeep,
) -> Vec<u8> {
    let mut families = Families::default();
    add_promised(node, &mut families);
    tables::add_gauges(node, accounts, upkeep, &mut families);
    tables::add_counters(node, &mut families);
    tables::add_presence_and_history(node, &mut families);
    tables::add_labelled(node, gate, accounts, upkeep, &mut families);
    tables::add_durations(node, accounts, &mut families);
    add_of_dialects(node, &mut families);
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

/// Adds the metrics that the dialects' documents promise, under the names in existing dashboards.
fn add_promised(node: &Node, families: &mut Families) {
    let facts = node.facts();
    for mounted in &node.dialects {
        for Figure { name, help, value } in mounted.dialect.figures(&facts, &node.dialect_facts(mounted)) {
            let value = match value {
                FigureValue::Counter(count) => counter(count),
                FigureValue::Gauge(count) => gauge(count),
                FigureValue::Seconds(value) => MetricValue::Gauge(Number { value }),
            };
            families.add(name, help, [], [([], value)]);
        }
    }
}

/// Adds the metrics that every dialect has.
fn add_of_dialects(node: &Node, families: &mut Families) {
    for (name, kind, value, help) in tables::DIALECT_VALUES {
        let values = shown(node).map(|mounted| ([mounted.name], kind(value(node, mounted))));
        families.add(name, help, ["dialect"], values);
    }
    for (name, counts, help) in tables::REASON_COUNTERS {
        let values = shown(node).flat_map(|mounted| {
            let counts = counts(mounted).into_iter();
            counts.map(|(reason, count)| ([mounted.name, reason], counter(count)))
        });
        families.add(name, help, ["dialect", "reason"], values);
    }
}

/// Returns the dialects with metrics: a hidden one only if it was used.
fn shown(node: &Node) -> impl Iterator<Item = &MountedDialect> {
    let used = |mounted: &&MountedDialect| mounted.counters.opened.load(Relaxed) > 0;
    let dialects = node.dialects.iter().map(|mounted| &**mounted);
    dialects.filter(move |mounted| !mounted.hidden || used(mounted))
}

#[cfg(test)]
mod tests;
