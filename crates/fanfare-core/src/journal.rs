//! Queries to a journal, and their answers.

use std::{sync::Arc, time::Duration};

use crate::{
    Audience, Channel, Event, Pattern, Subscription, UserId,
    history::{Cursor, Unrecovered},
};

/// The audiences of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayScope {
    /// These channels.
    pub channels: Vec<Channel>,
    /// The channels that one of these matches.
    pub patterns: Vec<Pattern>,
    /// The events for this user.
    pub user: Option<UserId>,
    /// The events for everyone.
    pub everyone: bool,
}

/// The place from which to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// The present: no events, only the place.
    Present,
    /// All events after the cursor; none if one of them is lost, or if there are more than the limit.
    After(Cursor),
    /// This number of the newest events, at most the limit.
    Newest(usize),
    /// The newest events that are no older than this, at most the limit.
    Within(Duration),
    /// A page: the first events after `since`, at most the limit. In reverse, the last ones before it, newest first.
    Page {
        /// The place; `None` for the end at which the page begins.
        since: Option<Cursor>,
        /// Whether the newest event is the first.
        reverse: bool,
    },
}

impl ReplayFrom {
    /// Returns the cursor after which the journal must have every event.
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
    /// The place up to which the answer is complete; `None` if the journal is unavailable.
    pub present: Option<Cursor>,
    /// The reason why the answer is not complete after the requested cursor.
    pub unrecovered: Option<Unrecovered>,
    /// The events with their positions, in the order of the query; empty if `unrecovered` after a cursor.
    pub events: Vec<Arc<Event>>,
}

/// A node's figures about the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Audiences with a history, here or on the broker's server.
    pub journals: u64,
    /// Kept events.
    pub entries: u64,
    /// The size of the kept events in bytes.
    pub bytes: u64,
    /// Events that were evicted for newer ones before their time.
    pub evicted: u64,
    /// Audiences that this node watches for gaps.
    pub watched: u64,
    /// Gaps that this node has found.
    pub gaps_found: u64,
    /// Gaps that this node has filled.
    pub gaps_filled: u64,
    /// Gaps that this node could not fill.
    pub gaps_lost: u64,
    /// Events that backends published straight on the broker, and that this node recorded.
    pub recorded: u64,
    /// Events that this node delivered because no node had recorded them in time.
    pub unrecorded: u64,
    /// Events whose recorded copies are missing, including those delivered because the broker did not reply.
    pub awaited: u64,
}

/// Returns `true` if an audience has all its events after the number `after`. `top` is its last number, `oldest_prev` the
/// `prev` of its oldest kept event after `after`.
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

    /// Adds the audience of a subscription, except a user's, which the caller judges.
    pub fn add(&mut self, wanted: &Subscription) {
        match wanted {
            Subscription::Channel(channel) => self.channels.push(channel.clone()),
            Subscription::Pattern(pattern) => self.patterns.push(pattern.clone()),
            Subscription::Personal(_) => {}
        }
    }

    /// Returns `true` if it has no audience.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.user.is_none() && !self.everyone
    }

    /// Returns `true` if it has this audience.
    pub fn covers(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Everyone => self.everyone,
            Audience::User(user) => self.user.as_ref() == Some(user),
            Audience::Channel(channel) => self.channels.contains(channel) || self.matches(channel),
        }
    }

    /// Returns `true` if one of its patterns matches the channel.
    pub fn matches(&self, channel: &Channel) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(channel))
    }

    /// Returns its audiences, except those of patterns.
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
