//! The log of the transport's state: each change once, each reason of an outage once, and refusals at most every ten seconds.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fanfare_core::{BoxFuture, Channel, LogThrottle, RENEWAL_TIMEOUT, locked};
use tokio::sync::watch;

use crate::{
    transport::{Further, Transport},
    wire::Rejected,
};

/// The shortest time between two lines of a kind.
const QUIET: Duration = Duration::from_secs(10);
/// The most reasons that are logged in one outage.
const MAX_REASONS: usize = 8;

/// The two connections of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Publishing = 0,
    Receiving = 1,
}

/// The requests that a transport may refuse, or fail to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// To publish events.
    Events,
    /// To store or look up ids of events.
    Ids,
    /// To publish a notice.
    Notice,
    /// To change or list rooms or slots.
    Presence,
    /// To keep events that were published.
    Journal,
    /// To subscribe to all plain publications of backends.
    Recording,
    /// To count the nodes that receive.
    Count,
}

impl Refused {
    /// Returns the refused request and its consequence, for the log.
    fn consequence(self) -> &'static str {
        match self {
            Self::Events => "refused publications; only this node's connections received them",
            Self::Ids => {
                "refused ids of events; the events reach all nodes, but the ids are shared with no other node"
            }
            Self::Notice => "refused a notice between nodes; it is published again",
            Self::Presence => {
                "refused presence; until it accepts it again, this node counts only its own connections"
            }
            Self::Journal => "did not keep events; clients that are disconnected will miss them",
            Self::Recording => {
                "refused a subscription to all publications of backends; without it, no node keeps events that they publish by PUBLISH"
            }
            Self::Count => {
                "refused to count the nodes that receive; a receipt may not show that a node was reconnecting"
            }
        }
    }
}

/// The state of the two connections, and the throttles of the log.
pub(crate) struct Status {
    transport: Arc<dyn Transport>,
    connections: Mutex<ConnectionStates>,
    renewing: watch::Sender<Renewing>,
    /// The number of ignored messages of each of [`Rejected::KINDS`].
    ignored: [AtomicU64; Rejected::KINDS.len()],
    connected: AtomicU64,
    dropped: AtomicU64,
    rejected: LogThrottle,
    /// One throttle for each variant of [`Refused`].
    refused: [LogThrottle; 7],
    notices_dropped: LogThrottle,
    room_full: LogThrottle,
}

/// The subscriptions that are being renewed.
#[derive(Default)]
struct Renewing {
    /// All subscriptions, on a new connection. Only the first attempt to connect counts: then the transport is unavailable.
    all: bool,
    /// [`Further`] subscriptions.
    further: bool,
    /// The number of times that the receiving connection was lost.
    losses: u64,
}

impl Renewing {
    fn is_over(&self) -> bool {
        !self.all && !self.further
    }
}

#[derive(Default)]
struct ConnectionStates {
    up: [bool; 2],
    error: String,
    /// The state that was logged last, if any: whether both connections are up.
    logged: Option<bool>,
    /// The reasons that were logged in this outage.
    reasons: Vec<String>,
}

impl Status {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            connections: Mutex::default(),
            renewing: watch::Sender::new(Renewing {
                all: true,
                ..Renewing::default()
            }),
            ignored: Default::default(),
            connected: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            rejected: LogThrottle::new(QUIET),
            refused: std::array::from_fn(|_| LogThrottle::new(QUIET)),
            notices_dropped: LogThrottle::new(QUIET),
            room_full: LogThrottle::new(QUIET),
        }
    }

    /// Notes that `side` is connected and in use.
    pub(crate) fn up(&self, side: Side) {
        let mut connections = locked(&self.connections);
        if side == Side::Receiving {
            self.connected.fetch_add(1, Relaxed);
            self.renewing.send_modify(|renewing| renewing.all = false);
        }
        connections.up[side as usize] = true;
        if connections.up == [true, true] && connections.logged.replace(true) != Some(true) {
            connections.reasons.clear();
            tracing::info!(
                address = self.transport.address(),
                "{} is connected",
                self.transport.name()
            );
        }
    }

    /// Notes that `side` was lost, or could not be connected.
    pub(crate) fn down(&self, side: Side, error: String) {
        let mut connections = locked(&self.connections);
        let was_up = std::mem::replace(&mut connections.up[side as usize], false);
        if side == Side::Receiving {
            self.renewing.send_modify(|renewing| {
                (renewing.all, renewing.further) = (was_up, false);
                renewing.losses += 1;
            });
        }
        if connections.logged.replace(false) != Some(false) {
            tracing::warn!(
                address = self.transport.address(),
                error,
                "{} is away; only this node's connections are served until it is back",
                self.transport.name()
            );
            connections.reasons.push(error.clone());
        } else if connections.reasons.len() < MAX_REASONS && !connections.reasons.contains(&error) {
            // The reason of the loss is seldom the reason why the node cannot reconnect.
            tracing::warn!(
                address = self.transport.address(),
                error,
                "{} is still away",
                self.transport.name()
            );
            connections.reasons.push(error.clone());
        }
        connections.error = error;
    }

    /// Notes that a receiving connection is open, and that all subscriptions are being renewed on it.
    pub(crate) fn opened(&self) {
        self.renewing.send_modify(|renewing| renewing.all = true);
    }

    /// Follows the state of a receiving connection's further subscriptions. It never returns: the caller drops it.
    pub(crate) async fn follow(&self, further: Option<watch::Receiver<Further>>) -> Infallible {
        let mut logged = false;
        let Some(mut further) = further else {
            return std::future::pending().await;
        };
        loop {
            let state = *further.borrow_and_update();
            self.renewing
                .send_modify(|renewing| renewing.further = state == Further::Renewing);
            let (name, address) = (self.transport.name(), self.transport.address());
            match state {
                Further::Away if !logged => {
                    logged = true;
                    tracing::warn!(
                        address,
                        "some subscriptions to {name} are lost and cannot be renewed yet"
                    );
                }
                Further::InForce if logged => {
                    logged = false;
                    tracing::info!(address, "all subscriptions to {name} are in force again");
                }
                _ => {}
            }
            if further.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Returns a future that resolves when the subscriptions are renewed, or after [`RENEWAL_TIMEOUT`]; `None` if none is being
    /// renewed.
    pub(crate) fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        let is_over = self.renewing.borrow().is_over();
        (!is_over).then(|| self.wait_for(Renewing::is_over))
    }

    /// Returns the number of times that the receiving connection was lost.
    pub(crate) fn losses(&self) -> u64 {
        self.renewing.borrow().losses
    }

    /// Like [`renewal`](Self::renewal), after a loss that follows the first `losses` and may not be noted yet.
    pub(crate) fn renewal_after(&self, losses: u64) -> BoxFuture<'static, ()> {
        self.wait_for(move |renewing| renewing.losses > losses && renewing.is_over())
    }

    fn wait_for(
        &self,
        mut is_over: impl FnMut(&Renewing) -> bool + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        let mut renewing = self.renewing.subscribe();
        Box::pin(async move {
            let over = renewing.wait_for(|renewing| is_over(renewing));
            // An error means that the renewal takes too long, or that the broker was dropped.
            let _ = tokio::time::timeout(RENEWAL_TIMEOUT, over).await;
        })
    }

    /// Returns whether `side` is connected and in use.
    pub(crate) fn is_up(&self, side: Side) -> bool {
        locked(&self.connections).up[side as usize]
    }

    /// Returns the last error of a connection.
    pub(crate) fn error(&self) -> String {
        let connections = locked(&self.connections);
        if connections.error.is_empty() {
            "not connected yet".to_owned()
        } else {
            connections.error.clone()
        }
    }

    /// Counts and logs a message that was dropped, because it does not have the documented form.
    pub(crate) fn rejected(&self, reason: Rejected) {
        self.ignored[reason.kind()].fetch_add(1, Relaxed);
        if let Some(held_back) = self.rejected.pass() {
            tracing::warn!(%reason, held_back, "dropped a message from {}", self.transport.name());
        }
    }

    /// Logs a refusal of the transport.
    pub(crate) fn refused(&self, what: Refused, error: &str) {
        if let Some(held_back) = self.refused[what as usize].pass() {
            tracing::warn!(
                address = self.transport.address(),
                error,
                held_back,
                "{} {}",
                self.transport.name(),
                what.consequence()
            );
        }
    }

    /// Logs that the store had no room for more members of `room`.
    pub(crate) fn room_full(&self, room: &Channel, error: &str) {
        if let Some(held_back) = self.room_full.pass() {
            tracing::warn!(
                room = ?&**room,
                error,
                held_back,
                "{} has no room for more members of a room; those who enter receive its events, but other nodes do not count them",
                self.transport.name()
            );
        }
    }

    /// Counts and logs notices that were dropped before other nodes received them.
    pub(crate) fn notices_dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
        if let Some(held_back) = self.notices_dropped.pass() {
            tracing::warn!(
                held_back,
                "other nodes will not receive notices: there were too many, or one was too large"
            );
        }
    }

    /// Returns the number of ignored messages for each reason.
    pub(crate) fn ignored(&self) -> Vec<(&'static str, u64)> {
        let counts = self.ignored.iter().map(|count| count.load(Relaxed));
        Rejected::KINDS.into_iter().zip(counts).collect()
    }

    /// Returns the number of times that the receiving connection was reopened.
    pub(crate) fn reconnects(&self) -> u64 {
        self.connected.load(Relaxed).saturating_sub(1)
    }

    /// Returns the number of dropped notices.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
