//! The end of a server: drain at the first signal, exit at the second.

use std::{
    future::poll_fn,
    io, process,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use fanfare_engine::Node;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};

use super::supervisor;
use crate::config::Shutdown;

const POLL_EVERY: Duration = Duration::from_millis(20);

/// The signals that stop the server.
pub(super) const SIGNALS: [SignalKind; 3] = [
    SignalKind::terminate(),
    SignalKind::interrupt(),
    SignalKind::quit(),
];

/// Signals of some kinds, which from then on do not end the process by themselves.
pub(super) struct Signals(Vec<Signal>);

impl Signals {
    pub(super) fn listen(kinds: &[SignalKind]) -> Result<Self, String> {
        let signals = kinds.iter().map(|kind| signal(*kind));
        let signals = signals.collect::<io::Result<_>>();
        signals
            .map(Self)
            .map_err(|error| format!("cannot listen for signals: {error}"))
    }

    /// Waits for the next signal, and returns the position of its kind.
    pub(super) async fn next(&mut self) -> usize {
        poll_fn(|cx| {
            let received = self
                .0
                .iter_mut()
                .position(|signal| signal.poll_recv(cx).is_ready());
            received.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Serves until a signal arrives, then drains. A second signal ends the process at once, with exit code 1.
pub(super) async fn wait(mut signals: Signals, node: &Arc<Node>, config: &Shutdown) -> Result<(), String> {
    signals.next().await;
    supervisor::stopping();
    tracing::info!(connections = node.active(), window = ?config.drain_window, "draining");
    node.drain(config.drain_window);
    tokio::select! {
        () = drained(node, config.timeout) => {}
        _ = signals.next() => {
            tracing::warn!(connections = node.active(), "second signal, exiting at once");
            process::exit(1);
        }
    }
    match node.active() {
        0 => tracing::info!("drained"),
        left => tracing::warn!(
            connections = left,
            "shutdown.timeout is over, cutting the remaining connections"
        ),
    }
    Ok(())
}

async fn drained(node: &Node, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    // A request in progress is finished.
    let is_busy = || node.active() > 0 || node.counters.requests_in_progress.load(Relaxed) > 0;
    while is_busy() && Instant::now() < deadline {
        sleep(POLL_EVERY).await;
    }
}
