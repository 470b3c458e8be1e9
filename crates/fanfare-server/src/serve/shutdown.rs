//! The end of a server: drain at the first signal, exit at the second.

use std::{
    process,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fanfare_engine::Node;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};

use super::supervisor;
use crate::config::Shutdown;

const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// Returns the signals of a kind, which from then on do not end the process by themselves.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

impl StopSignals {
    pub(super) fn listen() -> Result<Self, String> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Serves until a signal arrives, then drains. A second signal ends the process at once, with exit code 1.
pub(super) async fn wait(
    mut signals: StopSignals,
    node: &Arc<Node>,
    config: &Shutdown,
) -> Result<(), String> {
    signals.next().await;
    supervisor::stopping();
    tracing::info!(connections = node.active(), window = ?config.drain_window, "draining");
    node.drain(config.drain_window);
    tokio::select! {
        () = drained(node, config.timeout) => {}
        () = signals.next() => {
            tracing::warn!(connections = node.active(), "second signal, leaving at once");
            process::exit(1);
        }
    }
    match node.active() {
        0 => tracing::info!("drained"),
        left => tracing::warn!(
            connections = left,
            "shutdown.timeout is over, cutting what is left"
        ),
    }
    Ok(())
}

async fn drained(node: &Node, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    // A request in progress is finished.
    let is_busy = || node.active() > 0 || node.counters.requests_in_progress.load(Relaxed) > 0;
    while is_busy() && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
}
