//! The clocks of a node. Most functions take the time as a [`Moment`]. Code that waits (`once`, `admission`, `sweep`) uses
//! tokio's time, which a test can pause; a simulated clock follows it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A node's clocks: a monotonic one for intervals, and the time of day for people and for the expiry of credentials.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: SystemTime,
    is_simulated: bool,
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Milliseconds since the node started, by the monotonic clock.
    pub(super) ms: u64,
    /// The time of day.
    pub(super) wall: SystemTime,
}

impl Clock {
    /// Returns the machine's clocks.
    pub fn system() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            is_simulated: false,
        }
    }

    /// Returns clocks that follow the time of the tokio runtime, which a test can pause and advance.
    pub fn simulated() -> Self {
        Self {
            is_simulated: true,
            ..Self::system()
        }
    }

    /// Returns the time since the node started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the time of day when the node started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Returns the time of day.
    pub fn wall(&self) -> SystemTime {
        if self.is_simulated {
            self.started_at + self.uptime()
        } else {
            SystemTime::now()
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            ms: millis(self.uptime()),
            wall: self.wall(),
        }
    }
}

impl Moment {
    pub(super) fn unix_ms(&self) -> u64 {
        unix_millis(self.wall)
    }
}

pub(super) fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(super) fn unix_micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
