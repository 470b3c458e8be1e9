//! The service manager, such as systemd: receives its sockets, and sends it notifications (`Type=notify`, `WatchdogSec`).

use std::{net::TcpListener, sync::Arc, time::Duration};

use fanfare_core::Inbound;
use fanfare_engine::Node;
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The listening sockets that the service manager has opened for this process (`LISTEN_FDS`).
pub(super) fn sockets() -> Vec<TcpListener> {
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    let socket = |index| match passed.take_tcp_listener(index) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(index, %error, "the service manager passed a socket that is not a TCP listener");
            None
        }
    };
    (0..count).filter_map(socket).collect()
}

pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies that a reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    // `Type=notify-reload` compares the time with its own.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Notifies the watchdog as long as every shard responds.
pub(super) async fn notify_watchdog(node: Arc<Node>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = (limit / 3).max(Duration::from_millis(1));
    loop {
        let probed = tokio::time::timeout(limit, Inbound::probe(&*node)).await;
        if matches!(probed, Ok(Ok(()))) {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(pause).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
