//! Logs, once for each change, whether the transport is there, each reason of an outage once, and at most every ten seconds
//! what it refuses.

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

/// At most one line of a kind in this time.
const QUIET: Duration = Duration::from_secs(10);
/// Different reasons that are logged in one outage.
const MAX_REASONS: usize = 8;

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Publishing = 0,
    Receiving = 1,
}

/// What a transport may refuse, or fail to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    Events,
    /// Ids of events were neither stored nor looked up.
    Ids,
    Notice,
    /// Changes of rooms or slots were neither stored nor looked up.
    Presence,
    /// Events were published and not kept.
    Journal,
    /// What backends publish is not received, and so not kept.
    Recording,
    /// How many nodes receive is not known.
    Count,
}

impl Refused {
    /// What was refused, and what follows from that.
    fn consequence(self) -> &'static str {
        match self {
            Self::Events => "refused publications; only this node's connections got them",
            Self::Ids => {
                "refused ids of events; the events reach all nodes, but the ids are shared with no other node"
            }
            Self::Notice => "refused a notice between nodes; it is published again",
            Self::Presence => {
                "refused presence; until it accepts it, this node counts its own connections alone"
            }
            Self::Journal => "did not keep events; clients that are away will miss them",
            Self::Recording => {
                "refused a subscription to all that backends publish; without it, no node keeps what they publish by PUBLISH"
            }
            Self::Count => {
                "refused to count the nodes that receive; a receipt may not show that a node was just connecting again"
            }
        }
    }
}

/// Whether each connection is there, and what was last wrong.
pub(crate) struct Status {
    transport: Arc<dyn Transport>,
    connections: Mutex<ConnectionStates>,
    renewing: watch::Sender<Renewing>,
    /// How many messages were ignored for each of [`Rejected::KINDS`].
    ignored: [AtomicU64; Rejected::KINDS.len()],
    connected: AtomicU64,
    dropped: AtomicU64,
    rejected: LogThrottle,
    /// For each of [`Refused`].
    refused: [LogThrottle; 7],
    notices_dropped: LogThrottle,
    room_full: LogThrottle,
}

/// What is subscribed to again just now.
#[derive(Default)]
struct Renewing {
    /// All, on a new connection. Of the attempts to connect only the first one counts: after that the transport is away.
    all: bool,
    /// [`Further`] ones.
    further: bool,
    /// How often the receiving connection was lost.
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
    /// What was logged last; at first nothing.
    logged: Option<bool>,
    /// The reasons that were logged since it is away.
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

    /// `side` is connected and in use.
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

    /// `side` was lost, or could not be connected.
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
            // Why it was lost is seldom why it cannot be connected again.
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

    /// A receiving connection is open, and all is subscribed to on it.
    pub(crate) fn opened(&self) {
        self.renewing.send_modify(|renewing| renewing.all = true);
    }

    /// Follows the further subscriptions of a receiving connection, for as long as it is there.
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

    /// Resolves when nothing is subscribed to again any more, or after [`RENEWAL_TIMEOUT`]; `None` if nothing is.
    pub(crate) fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        let is_over = self.renewing.borrow().is_over();
        (!is_over).then(|| self.wait_for(Renewing::is_over))
    }

    /// How often the receiving connection was lost.
    pub(crate) fn losses(&self) -> u64 {
        self.renewing.borrow().losses
    }

    /// The same as [`renewal`](Self::renewal), after a loss that follows the first `losses` and may not be noted yet.
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
            // An error means that it takes too long, or that the broker was dropped.
            let _ = tokio::time::timeout(RENEWAL_TIMEOUT, over).await;
        })
    }

    /// Whether `side` is connected and in use.
    pub(crate) fn is_up(&self, side: Side) -> bool {
        locked(&self.connections).up[side as usize]
    }

    /// What was last wrong.
    pub(crate) fn error(&self) -> String {
        let connections = locked(&self.connections);
        if connections.error.is_empty() {
            "not connected yet".to_owned()
        } else {
            connections.error.clone()
        }
    }

    /// A message was dropped because it is not of the documented form.
    pub(crate) fn rejected(&self, reason: Rejected) {
        self.ignored[reason.kind()].fetch_add(1, Relaxed);
        if let Some(held_back) = self.rejected.pass() {
            tracing::warn!(%reason, held_back, "dropped what was published on {}", self.transport.name());
        }
    }

    /// The transport refused something.
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

    /// There was no room for more members of `room`.
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

    /// Notices were dropped that other nodes have not received.
    pub(crate) fn notices_dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
        if let Some(held_back) = self.notices_dropped.pass() {
            tracing::warn!(
                held_back,
                "other nodes will not receive notices: there were too many, or one was too large"
            );
        }
    }

    /// How many messages were ignored, by reason.
    pub(crate) fn ignored(&self) -> Vec<(&'static str, u64)> {
        let counts = self.ignored.iter().map(|count| count.load(Relaxed));
        Rejected::KINDS.into_iter().zip(counts).collect()
    }

    /// How often the receiving connection was opened again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.connected.load(Relaxed).saturating_sub(1)
    }

    /// How many notices were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
