//! What the simulated clients listen to. The dialect they speak is the first in which that can be heard.

use fanfare_core::{Audience, Channel, DialectKind, ListenPlan, Listening};

/// The channel that clients share. Short, so that its name fits into a frame as long as all others.
const SHARED: &str = "bench.all";
/// A pattern that matches it.
const MATCHING: &str = "bench.*";

/// What each client listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listeners {
    /// What is for its user, and what is for everyone.
    Own,
    /// One channel that all share, by its name.
    Channel,
    /// The same, by a pattern.
    Pattern,
    /// The shared channel and one of its own.
    TwoChannels,
    /// So many patterns that nobody else has and nothing is published for.
    ManyPatterns(usize),
}

impl Listeners {
    /// How the client number `number`, who holds `token`, listens in `dialect`.
    pub(crate) fn plan(self, dialect: &dyn DialectKind, number: usize, token: &str) -> Option<ListenPlan> {
        dialect.listen(&Listening {
            token: Some(token),
            own: self == Self::Own,
            channels: &self.channels(number),
        })
    }

    /// Who hears what is published for all of them.
    ///
    /// # Errors
    /// Never, in practice: the names are good.
    pub(crate) fn audience(self) -> Result<Audience, String> {
        match self {
            Self::Own => Ok(Audience::Everyone),
            _ => channel(SHARED),
        }
    }

    /// The dialect.
    ///
    /// # Errors
    /// When this build has none.
    pub(crate) fn dialect(self) -> Result<&'static dyn DialectKind, String> {
        let mut dialects = fanfare_dialects::ALL.iter().copied();
        let found = dialects.find(|dialect| self.plan(*dialect, 0, "").is_some());
        found.ok_or_else(|| format!("this build has no dialect for clients that listen to {self:?}"))
    }

    fn channels(self, number: usize) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Channel => vec![SHARED.into()],
            Self::Pattern => vec![MATCHING.into()],
            Self::TwoChannels => vec![SHARED.into(), format!("own.{number}")],
            // Every other begins with a wildcard: a search cannot leave those out by the channel's first segment.
            Self::ManyPatterns(count) => (0..count)
                .map(|nth| match nth % 2 {
                    0 => format!("held.{number}.{nth}.*"),
                    _ => format!("*.{number}.{nth}.held"),
                })
                .collect(),
        }
    }
}

/// The audience on a channel of that name.
pub(crate) fn channel(name: &str) -> Result<Audience, String> {
    Channel::new(name)
        .map(Audience::Channel)
        .map_err(|error| error.to_string())
}
