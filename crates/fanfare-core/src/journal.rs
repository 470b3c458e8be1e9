//! The question to a journal, and its answer.

use std::{sync::Arc, time::Duration};

use crate::{
    Audience, Channel, Event, Pattern, Subscription, UserId,
    history::{Cursor, Unrecovered},
};

/// The audiences of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayScope {
    /// Channels by name.
    pub channels: Vec<Channel>,
    /// All channels that one of these matches.
    pub patterns: Vec<Pattern>,
    /// Events for this user.
    pub user: Option<UserId>,
    /// Events for everyone.
    pub everyone: bool,
}

/// The place from which to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// No events, only the journal's present place.
    Present,
    /// All events after the cursor, or none if one of them is lost or there are more than the limit.
    After(Cursor),
    /// This number of the newest events, at most the limit.
    Newest(usize),
    /// The newest events not older than this, at most the limit.
    Within(Duration),
    /// A page: the first events after `since`, up to the limit; or, in reverse, the last ones before it, newest first.
    Page {
        /// Without it, a page begins at the end.
        since: Option<Cursor>,
        /// Newest first.
        reverse: bool,
    },
}

impl ReplayFrom {
    /// The cursor that relies on the journal having every later event.
    pub fn since(self) -> Option<Cursor> {
        match self {
            Self::After(cursor) => Some(cursor),
            Self::Page {
                since,
                reverse: false,
            } => since,
            _ => None,
        }
    }
}

/// A request to read kept events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayQuery {
    /// The audiences.
    pub scope: ReplayScope,
    /// The place from which to read.
    pub from: ReplayFrom,
    /// The maximum of events.
    pub limit: usize,
}

/// A journal's answer.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The journal's place when it was read, up to which the answer covers all; `None` if the journal is unavailable.
    pub present: Option<Cursor>,
    /// Why the answer is not complete after the requested cursor.
    pub unrecovered: Option<Unrecovered>,
    /// The events, each with its position, in the order of the query; empty if `unrecovered` after a cursor.
    pub events: Vec<Arc<Event>>,
}

/// A journal's contents and use, as figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Known audiences, here or on the broker's server.
    pub journals: u64,
    /// Events that are kept.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events that were dropped before their time, because the memory was needed for newer ones.
    pub evicted: u64,
    /// Audiences that this node watches for events that were lost on the way.
    pub watched: u64,
    /// Holes in the numbers that this node has found.
    pub gaps_found: u64,
    /// Those of them that it has filled.
    pub gaps_filled: u64,
    /// Those of them that it could not fill.
    pub gaps_lost: u64,
    /// Events that backends published on the broker's server, and that this node recorded for all.
    pub recorded: u64,
    /// Those that this node delivered though no node had recorded them in time.
    pub unrecorded: u64,
    /// Those whose recorded copies this node waits for now, with those that it has delivered because the broker did not answer.
    pub awaited: u64,
}

/// Returns whether an audience is complete after the number `after`: `top` is its last number, `oldest_prev` the `prev`
/// of its oldest kept event after `after`.
pub fn is_complete(after: u64, top: u64, oldest_prev: Option<u64>) -> bool {
    top <= after || oldest_prev.is_some_and(|prev| prev <= after)
}

impl ReplayScope {
    /// Returns the scope of one audience.
    pub fn of(audience: &Audience) -> Self {
        let mut scope = Self::default();
        match audience {
            Audience::Everyone => scope.everyone = true,
            Audience::User(user) => scope.user = Some(user.clone()),
            Audience::Channel(channel) => scope.channels.push(channel.clone()),
        }
        scope
    }

    /// Adds the audience of a subscription, except the events of users, which the caller judges.
    pub fn add(&mut self, wanted: &Subscription) {
        match wanted {
            Subscription::Channel(channel) => self.channels.push(channel.clone()),
            Subscription::Pattern(pattern) => self.patterns.push(pattern.clone()),
            Subscription::Personal(_) => {}
        }
    }

    /// Returns whether it has no audience.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.user.is_none() && !self.everyone
    }

    /// Returns whether it has this audience.
    pub fn covers(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Everyone => self.everyone,
            Audience::User(user) => self.user.as_ref() == Some(user),
            Audience::Channel(channel) => self.channels.contains(channel) || self.matches(channel),
        }
    }

    /// Returns whether one of its patterns matches the channel.
    pub fn matches(&self, channel: &Channel) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(channel))
    }

    /// Returns the audiences that it names, which are all except those that a pattern matches.
    pub fn named(&self) -> impl Iterator<Item = Audience> {
        let channels = self.channels.iter().cloned().map(Audience::Channel);
        let user = self.user.iter().cloned().map(Audience::User);
        channels
            .chain(user)
            .chain(self.everyone.then_some(Audience::Everyone))
    }
}

impl Replay {
    /// Returns the answer of a journal that cannot be reached.
    pub fn unreachable() -> Self {
        Self {
            present: None,
            unrecovered: Some(Unrecovered::Expired),
            events: Vec::new(),
        }
    }
}
