//! The retention of an audience's events, and the position of a kept event.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cursor, Epoch};
use crate::DurationText;

/// The maximum of kept events of one audience.
pub const MAX_HISTORY_SIZE: u32 = 100_000;
/// The default maximum of events that one resume replays.
pub const REPLAY_LIMIT: usize = 1000;
/// The maximum time for which an event is kept: 30 days.
pub const MAX_HISTORY_TTL: Duration = Duration::from_millis(MAX_HISTORY_TTL_MS);
/// [`MAX_HISTORY_TTL`] in milliseconds.
pub const MAX_HISTORY_TTL_MS: u64 = 30 * 24 * 3_600_000;

/// The retention of one audience: its newest `size` events, none older than `ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The number of newest events that are kept.
    #[schemars(range(min = 1, max = MAX_HISTORY_SIZE))]
    pub size: u32,
    /// The time for which they are kept.
    #[serde(with = "DurationText::<1000, MAX_HISTORY_TTL_MS>")]
    pub ttl: Duration,
}

/// The history of an event: whether it is kept, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// Its audience has no history, or it was published while the broker was unavailable.
    #[default]
    None,
    /// The broker should keep it with this retention.
    Wanted(Retention),
    /// The broker has kept it at this position.
    Kept(Position),
    /// Kept, and delivered only to connections without cursors. It arrives out of order, or while events before it may be
    /// missing. Connections with cursors receive it as [`History::Again`], or a message about the [`Gap`](crate::Gap).
    Late(Position),
    /// Kept, and delivered only to connections with cursors. The others have received it as [`History::Late`].
    Again(Position),
}

/// The place of a kept event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The journal.
    pub epoch: Epoch,
    /// Its number, unique in the journal; later events have higher ones.
    pub number: u64,
    /// The number of the event before it in its audience; 0 for the first. If the journal no longer has that event, the
    /// number may be higher, but never lower.
    pub prev: u64,
}

impl Position {
    /// Returns the cursor after the event.
    pub fn cursor(self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            number: self.number,
        }
    }
}

impl History {
    /// Returns the retention, if the event should be kept.
    pub fn wanted(&self) -> Option<Retention> {
        match self {
            Self::Wanted(retention) => Some(*retention),
            Self::None | Self::Kept(_) | Self::Late(_) | Self::Again(_) => None,
        }
    }

    /// Returns the event's position, if it is kept and clients may see it.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Kept(position) | Self::Again(position) => Some(*position),
            Self::None | Self::Wanted(_) | Self::Late(_) => None,
        }
    }
}
