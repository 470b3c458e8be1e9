//! The view of `fanfare top`: totals, nodes, dialects, and the connections with the most waiting messages.

use std::collections::BTreeMap;

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Borders, Row, Table},
};

use super::figures::{Figures, Sample, Waiting};
use crate::{cli::output, report::NodeFigures};

/// The lines of a table besides its rows: its title and its header.
const HEAD: usize = 2;
/// The least width of a terminal that shows the connections' whole ids; a narrower one shows their ends.
const WITH_WHOLE_IDS: u16 = 118;
const TOTALS: usize = 2;
const FOOT: usize = 1;

pub(super) fn height(figures: &Figures) -> u16 {
    let Some(Sample {
        overview,
        connections,
        ..
    }) = &figures.last
    else {
        return 1;
    };
    let rows = overview.nodes.len() + dialects(&overview.nodes).len() + connections.len();
    u16::try_from(TOTALS + 3 * HEAD + rows + FOOT).unwrap_or(u16::MAX)
}

/// Draws everything. `hint` is the text of the last line unless there is an error or a warning.
pub(super) fn draw(frame: &mut Frame<'_>, figures: &Figures, hint: &'static str) {
    let Some(sample) = &figures.last else { return };
    let dialects = dialects(&sample.overview.nodes);
    let lines = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX));
    let parts = [
        lines(TOTALS),
        lines(HEAD + sample.overview.nodes.len()),
        lines(HEAD + dialects.len()),
        Constraint::Min(2),
        lines(FOOT),
    ];
    let [top, nodes, middle, bottom, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(totals(figures, sample), top);
    frame.render_widget(node_table(figures, &sample.overview.nodes), nodes);
    frame.render_widget(dialect_table(&dialects), middle);
    frame.render_widget(waiting_table(&sample.connections, bottom.width), bottom);
    frame.render_widget(footer(figures, sample, hint), foot);
}

fn totals(figures: &Figures, sample: &Sample) -> Line<'static> {
    let nodes = &sample.overview.nodes;
    let sum = |of: fn(&NodeFigures) -> u64| nodes.iter().map(of).sum::<u64>();
    let rate = |of: fn(&NodeFigures) -> u64| {
        let rates: Option<Vec<_>> = nodes.iter().map(|node| figures.rate(node, of)).collect();
        shown(rates.map(|rates| rates.iter().sum()), sum(of))
    };
    Line::from(vec![
        Span::raw("Fanfare ").bold(),
        Span::raw(format!(
            "{} nodes   {} connections   events in {}   messages out {}   not delivered {}",
            nodes.len(),
            sum(|node| node.connections),
            rate(|node| node.events),
            rate(sent),
            sum(dropped),
        )),
    ])
}

fn node_table(figures: &Figures, nodes: &[NodeFigures]) -> Table<'static> {
    let row = |node: &NodeFigures| {
        let away = node.broker.status == "disconnected";
        let down = node.database.status == "down";
        let id = node.id.simple().to_string();
        let name = format!("{} {}", node.host.as_deref().unwrap_or("node"), end_of(&id));
        let row = Row::new([
            output::shown(&name),
            node.version.clone(),
            humantime::format_duration(std::time::Duration::from_secs(node.uptime_seconds)).to_string(),
            node.connections.to_string(),
            shown(figures.rate(node, |node| node.events), node.events),
            shown(figures.rate(node, sent), sent(node)),
            dropped(node).to_string(),
            node.broker.status.clone(),
            node.database.status.clone(),
        ]);
        row.style(noticeable(away || down, Color::Red))
    };
    let mut widths = [22, 8, 14, 11, 10, 10, 11, 13, 9].map(Constraint::Length);
    widths[0] = Constraint::Min(14);
    let names = "node version up connections events out undelivered broker database";
    titled("Nodes", names, Table::new(nodes.iter().map(row), widths))
}

/// One dialect on all nodes: connections, the most allowed, subscriptions, messages in, out and not delivered.
type Dialects = BTreeMap<String, [u64; 6]>;

fn dialects(nodes: &[NodeFigures]) -> Dialects {
    let mut all = Dialects::new();
    for own in nodes.iter().flat_map(|node| &node.dialects) {
        let figures = [
            own.connections,
            own.max_connections,
            own.subscriptions,
            own.received,
            own.sent,
            own.dropped,
        ];
        let sums = all.entry(own.name.clone()).or_default();
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum += figure;
        }
    }
    all
}

fn dialect_table(dialects: &Dialects) -> Table<'static> {
    let row = |(name, figures): (&String, &[u64; 6])| {
        let row = Row::new(std::iter::once(name.clone()).chain(figures.map(|figure| figure.to_string())));
        row.style(noticeable(figures[0] >= figures[1], Color::Red))
    };
    let widths = [24, 12, 12, 14, 12, 12, 12].map(Constraint::Length);
    let names = "dialect connections most subscriptions in out undelivered";
    titled("Dialects", names, Table::new(dialects.iter().map(row), widths))
}

fn waiting_table(connections: &[Waiting], width: u16) -> Table<'static> {
    let is_whole = width >= WITH_WHOLE_IDS;
    let row = |own: &Waiting| {
        let id = if is_whole { &own.id } else { end_of(&own.id) };
        let row = Row::new([
            output::shown(id),
            output::shown(own.user.as_deref().unwrap_or("-")),
            own.dialect.clone(),
            own.address.clone(),
            own.details.queued.to_string(),
            own.details.queued_bytes.to_string(),
            own.details.subscription_count.to_string(),
        ]);
        row.style(noticeable(own.details.queued > 0, Color::Yellow))
    };
    let widths = [if is_whole { 37 } else { 8 }, 20, 10, 24, 8, 10, 9].map(Constraint::Length);
    let title = "Connections, most waiting messages first";
    let names = "id user dialect address waiting bytes listens";
    titled(title, names, Table::new(connections.iter().map(row), widths))
}

fn footer(figures: &Figures, sample: &Sample, hint: &'static str) -> Line<'static> {
    match &figures.error {
        Some(error) => Line::from(output::shown(error)).fg(Color::Red),
        None if sample.overview.degraded => {
            Line::from(format!("not every node has answered   {hint}")).fg(Color::Yellow)
        }
        None => Line::from(hint).dim(),
    }
}

/// Adds a title and the columns' `names`, which spaces separate.
fn titled(title: &'static str, names: &'static str, table: Table<'static>) -> Table<'static> {
    table
        .block(Block::new().borders(Borders::TOP).title(title))
        .column_spacing(1)
        .header(Row::new(names.split(' ')).bold())
}

/// Returns the style of a row: `colour` if it `is_noticeable`.
fn noticeable(is_noticeable: bool, colour: Color) -> Style {
    if is_noticeable {
        Style::new().fg(colour)
    } else {
        Style::new()
    }
}

/// Returns the end of an id. Ids begin with the time, so their ends differ.
fn end_of(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// Returns a rate; if there is none, the total since the start.
fn shown(rate: Option<f64>, total: u64) -> String {
    rate.map_or_else(|| total.to_string(), |rate| format!("{rate:.1}/s"))
}

fn sent(node: &NodeFigures) -> u64 {
    node.dialects.iter().map(|own| own.sent).sum()
}

fn dropped(node: &NodeFigures) -> u64 {
    node.dialects.iter().map(|own| own.dropped).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::{Value, json};

    use super::*;

    fn overview(events: u64, status: &str) -> Value {
        let node = json!({
            "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "host": "one", "version": "1.2.3", "uptime_seconds": 90,
            "connections": 3, "events": events, "broker": {"status": status}, "database": {"status": "up"},
            "dialects": [
                {"name": "notify", "connections": 3, "max_connections": 10, "sent": 2 * events, "dropped": 1},
                {"name": "rooms", "connections": 0, "max_connections": 10},
            ],
        });
        json!({ "nodes": [node] })
    }

    fn connections() -> Value {
        json!([{
            "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c", "dialect": "notify", "user": "ann\u{1b}[31m",
            "address": "192.0.2.1", "details": {"queued": 7, "queued_bytes": 700, "subscription_count": 2},
        }])
    }

    fn screen(figures: &Figures, width: u16, height: u16) -> Vec<String> {
        let terminal = Terminal::new(TestBackend::new(width, height));
        let mut terminal = terminal.unwrap_or_else(|error| panic!("{error}"));
        terminal
            .draw(|frame| draw(frame, figures, "q quits"))
            .unwrap_or_else(|error| panic!("{error}"));
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(usize::from(width));
        rows.map(|row| {
            row.iter()
                .map(ratatui::buffer::Cell::symbol)
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect()
    }

    fn figures() -> Figures {
        let (mut figures, start) = (Figures::default(), Instant::now());
        figures.add(Sample::of(start, 0, overview(100, "connected"), connections()));
        figures.add(Sample::of(start, 2, overview(150, "connected"), connections()));
        figures
    }

    #[test]
    fn rates_need_two_samples() {
        let lines = screen(&figures(), 120, 20);
        assert_eq!(
            lines[0],
            "Fanfare 1 nodes   3 connections   events in 25.0/s   messages out 50.0/s   not delivered 1"
        );
        let node = lines.iter().find(|line| line.starts_with("one 2e3f4a5b"));
        let node: Vec<_> = node
            .map(|line| line.split_whitespace().collect())
            .unwrap_or_default();
        assert_eq!(
            node[2..],
            [
                "1.2.3",
                "1m",
                "30s",
                "3",
                "25.0/s",
                "50.0/s",
                "1",
                "connected",
                "up"
            ]
        );
        assert!(lines.iter().any(|line| line.starts_with("notify")), "{lines:#?}");
    }

    #[test]
    fn one_sample_has_totals_and_none_draws_nothing() {
        let mut figures = Figures::default();
        assert!(screen(&figures, 80, 24).iter().all(String::is_empty));
        figures.add(Sample::of(Instant::now(), 0, overview(1, "connected"), json!([])));
        assert!(screen(&figures, 80, 24)[0].contains("events in 1   messages out 2"));
    }

    #[test]
    fn names_do_not_reach_the_terminal_as_commands() {
        let lines = screen(&figures(), 140, 20);
        let own = lines.iter().find(|line| line.contains("192.0.2.1"));
        assert!(
            own.is_some_and(|line| line.contains("ann\\u{1b}[31m") && line.contains(" 7 ")),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_failed_sample_keeps_the_figures_and_shows_the_reason() {
        let mut figures = figures();
        figures.error = Some("cannot reach the server".to_owned());
        let lines = screen(&figures, 100, 20);
        assert!(lines[0].contains("3 connections") && lines[19] == "cannot reach the server");
    }

    #[test]
    fn a_narrow_terminal_shows_the_ends_of_ids() {
        for (width, id) in [
            (80, "2e3f4a5c ann"),
            (118, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c  ann"),
        ] {
            let lines = screen(&figures(), width, 20);
            assert!(lines.iter().any(|line| line.starts_with(id)), "{lines:#?}");
            assert!(
                lines.iter().any(|line| line.starts_with("one 2e3f4a5b")),
                "{lines:#?}"
            );
        }
    }

    #[test]
    fn small_terminals_are_no_fault() {
        for (width, height) in [(1, 1), (10, 3), (200, 5), (20, 100)] {
            screen(&figures(), width, height);
        }
    }
}
