//! `fanfare top`: all nodes' figures in a terminal, by the service API.

mod figures;
mod view;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc;

use self::figures::{Figures, sample};
use super::{
    CommandFailure, Global, Outcome, block_on, output,
    remote::{RemoteApi, RemoteServer},
};

/// The width of the text that `--once` prints.
const PRINTED_WIDTH: u16 = 120;

#[derive(Args)]
pub(super) struct Top {
    /// Print the figures once, as text, with totals instead of rates
    #[arg(long)]
    once: bool,
    /// The time between two updates, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    #[command(flatten)]
    server: RemoteServer,
}

impl Top {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let config = global.config()?;
        let api = self.server.api(&config)?;
        block_on(async {
            let mut figures = Figures::default();
            figures.add(sample(&api).await?);
            if self.once || !io::stdout().is_terminal() {
                output::text(printed(&figures)?);
                return Ok(());
            }
            self.live(figures, &api).await
        })
    }

    async fn live(&self, mut figures: Figures, api: &RemoteApi<'_>) -> Outcome {
        let mut terminal = ratatui::try_init().map_err(|error| broken(&error))?;
        let mut keys = keys();
        let mut ticks = tokio::time::interval(Duration::from_secs(self.every));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset(); // the first sample is taken
        let outcome = loop {
            if let Err(error) = terminal.draw(|frame| view::draw(frame, &figures, "q quits")) {
                break Err(broken(&error));
            }
            tokio::select! {
                key = keys.recv() => match key {
                    Some(key) if !is_quit(key) => {}
                    _ => break Ok(()),
                },
                _ = ticks.tick() => figures.update(api).await,
            }
        };
        ratatui::restore();
        outcome
    }
}

/// Returns the pressed keys, and changes of the terminal's size as a key without a meaning. A separate thread waits for
/// them, and ends with the process.
fn keys() -> mpsc::UnboundedReceiver<KeyEvent> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Press => key,
                _ => KeyEvent::new(KeyCode::Null, KeyModifiers::NONE),
            };
            if sender.send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

fn is_quit(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

fn printed(figures: &Figures) -> Result<String, CommandFailure> {
    let (width, height) = (PRINTED_WIDTH, view::height(figures));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(|error| broken(&error))?;
    let drawn = terminal.draw(|frame| view::draw(frame, figures, ""));
    drawn.map_err(|error| broken(&error))?;
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(width)).map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok(format!("{}\n", text.trim_end()))
}

fn broken(error: &dyn std::fmt::Display) -> CommandFailure {
    format!("cannot draw on the terminal: {error}").into()
}
