//! The subscriptions of each simulated client, in the first dialect that can receive them.

use fanfare_core::{Audience, Channel, DialectKind, ListenPlan, Listening};

/// The channel that clients share. It is short, so that its name fits into a frame of the same length as all others.
const SHARED: &str = "bench.all";
const MATCHING: &str = "bench.*";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subscriptions {
    Own,
    Channel,
    Pattern,
    /// The shared channel, and a channel of this client only.
    TwoChannels,
    /// This number of patterns, which no other client has and no publication matches.
    ManyPatterns(usize),
}

impl Subscriptions {
    pub(crate) fn plan(self, dialect: &DialectKind, number: usize, token: &str) -> Option<ListenPlan> {
        (dialect.listen)(&Listening {
            token: Some(token),
            own: self == Self::Own,
            channels: &self.channels(number),
        })
    }

    pub(crate) fn audience(self) -> Result<Audience, String> {
        match self {
            Self::Own => Ok(Audience::Everyone),
            _ => channel(SHARED),
        }
    }

    pub(crate) fn dialect(self) -> Result<&'static DialectKind, String> {
        let mut dialects = fanfare_dialects::REGISTRY.iter();
        let found = dialects.find(|dialect| self.plan(dialect, 0, "").is_some());
        found.ok_or_else(|| format!("this build has no dialect that can receive {self:?}"))
    }

    fn channels(self, number: usize) -> Vec<String> {
        match self {
            Self::Own => Vec::new(),
            Self::Channel => vec![SHARED.into()],
            Self::Pattern => vec![MATCHING.into()],
            Self::TwoChannels => vec![SHARED.into(), format!("own.{number}")],
            // Half of the patterns begin with a wildcard: a search cannot skip them by the channel's first segment.
            Self::ManyPatterns(count) => (0..count)
                .map(|nth| match nth % 2 {
                    0 => format!("held.{number}.{nth}.*"),
                    _ => format!("*.{number}.{nth}.held"),
                })
                .collect(),
        }
    }
}

pub(crate) fn channel(name: &str) -> Result<Audience, String> {
    let channel = Channel::new(name).map_err(|error| error.to_string())?;
    Ok(Audience::Channel(channel))
}
