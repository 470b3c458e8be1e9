//! Names with wildcards.

use std::{fmt, sync::Arc};

use crate::{Audience, BadName, Channel, MAX_NAME_BYTES, MAX_SEGMENTS, UserId};

/// A name with wildcards: `*` stands for one whole segment, `**` for one or more.
///
/// Separators are compared as they are: `a.*` matches `a.b` and not `a:b`. Inside what `**` stands for either may
/// occur, and `**` alone matches every channel. A wildcard is a whole segment: `a*` is no pattern.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// What a client asks to hear: the name of a channel, the name of a personal channel, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Events for this user: its personal channel, under any of its names.
    Personal(UserId),
    /// Events on this channel.
    Channel(Channel),
    /// Events on every channel that this matches.
    Pattern(Pattern),
}

impl Pattern {
    /// Checks and takes `text`. A name without wildcards is a pattern that matches itself.
    ///
    /// # Errors
    /// When it is empty, too long, too deep, has an empty segment, a control character, or a `*` in a longer segment.
    pub fn new(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        } else if text.len() > MAX_NAME_BYTES {
            return Err(BadName::TooLong);
        } else if text.chars().any(char::is_control) {
            return Err(BadName::ControlCharacter);
        }
        let mut segments = 0;
        for segment in text.split(['.', ':']) {
            segments += 1;
            if segment.is_empty() {
                return Err(BadName::EmptySegment);
            } else if segment.contains('*') && !matches!(segment, "*" | "**") {
                return Err(BadName::Wildcard);
            }
        }
        if segments > MAX_SEGMENTS {
            return Err(BadName::TooDeep);
        }
        Ok(Self(text.into()))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subscription {
    /// Reads what a client names.
    ///
    /// # Errors
    /// When it is neither a name nor a pattern.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text
            .split(['.', ':'])
            .any(|segment| matches!(segment, "*" | "**"))
        {
            return Pattern::new(text).map(Self::Pattern);
        }
        match Audience::of_channel(text)? {
            Audience::User(user) => Ok(Self::Personal(user)),
            Audience::Channel(channel) => Ok(Self::Channel(channel)),
            Audience::Everyone => Err(BadName::Empty),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
