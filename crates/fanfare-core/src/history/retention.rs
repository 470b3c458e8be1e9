//! How much of an audience's events is kept, and where a kept event is.

use std::time::Duration;

use super::{Cursor, Epoch};

/// The most events that are kept of one audience.
pub const MAX_HISTORY_SIZE: u32 = 100_000;
/// The default for the most events that one resume brings.
pub const REPLAY_LIMIT: usize = 1000;
/// The longest time for which an event is kept: 30 days.
pub const MAX_HISTORY_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much is kept of one audience: its newest `size` events, none older than `ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The number of events, at least 1.
    pub size: u32,
    /// Their age, more than nothing.
    pub ttl: Duration,
}

/// Whether an event is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// Its audience has no history, or it was published while the broker was away.
    #[default]
    None,
    /// The broker is to keep it.
    Wanted(Retention),
    /// The broker has kept it.
    Kept(Position),
    /// The same, for connections without cursors alone: it arrives out of the order of the numbers, or before it is known what is missing
    /// before it. Connections with cursors receive it as [`History::Again`], or learn that they have missed something
    /// ([`Gap`](crate::Gap)).
    Late(Position),
    /// The same, for connections with cursors alone: the others have received it as [`History::Late`].
    Again(Position),
}

/// The place of a kept event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The journal.
    pub epoch: Epoch,
    /// Its number, unlike any other's in the journal; later events have higher ones.
    pub number: u64,
    /// The number of the event before it in its audience; 0 if it is the first. A journal that has forgotten it says a higher
    /// one, and never a lower one.
    pub prev: u64,
}

impl Position {
    /// Returns the cursor behind the event.
    pub fn cursor(self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            number: self.number,
        }
    }
}

impl History {
    /// Returns how much is to be kept, if the event is to be.
    pub fn wanted(&self) -> Option<Retention> {
        match self {
            Self::Wanted(retention) => Some(*retention),
            Self::None | Self::Kept(_) | Self::Late(_) | Self::Again(_) => None,
        }
    }

    /// Returns the event's place, if it is kept and may be shown with it.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Kept(position) | Self::Again(position) => Some(*position),
            Self::None | Self::Wanted(_) | Self::Late(_) => None,
        }
    }
}
