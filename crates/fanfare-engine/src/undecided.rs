//! The events that wait until the authorizer has decided whether a connection may read them, in the order of their channel.

use std::collections::VecDeque;

use ahash::AHashMap;
use fanfare_core::{
    BoxFuture, Channel, Event,
    policy::{AccessControl, AuthorizerAnswer, OpenQuestions},
};

use super::connections::Key;

/// The most events that wait for one connection, on all channels. More are dropped and counted.
const MAX_WAITING: usize = 256;

/// The waiting events, by channel and connection.
#[derive(Default)]
pub(super) struct Undecided {
    lines: AHashMap<Channel, AHashMap<Key, Line>>,
    /// The number of waiting events of each connection.
    events: AHashMap<Key, usize>,
}

/// The waiting events of one connection on one channel, the oldest first.
type Line = VecDeque<Waiting>;

/// Consecutive events that wait for the same answer.
struct Waiting {
    asked: OpenQuestions,
    /// Whether the question is about a subscription's credential, not the connection's own.
    borrowed: bool,
    /// `None` while a task waits for it.
    answer: Option<BoxFuture<'static, AuthorizerAnswer>>,
    events: Vec<Event>,
}

/// The result of [`Undecided::put`].
pub(super) struct Put {
    /// Whether no other event waited for that connection and channel.
    pub(super) first: bool,
    pub(super) kept: u64,
    pub(super) dropped: u64,
}

impl Undecided {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns whether an event on `channel` waits for any connection.
    pub(super) fn waits_on(&self, channel: &Channel) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(channel)
    }

    /// Returns whether an event waits already, so that later ones must wait behind it.
    pub(super) fn waits(&self, key: Key, channel: &Channel) -> bool {
        self.lines
            .get(channel)
            .is_some_and(|lines| lines.contains_key(&key))
    }

    /// Keeps `events` until the authorizer has answered `asked`, as far as there is room.
    pub(super) fn put(
        &mut self,
        key: Key,
        channel: &Channel,
        (asked, borrowed): (OpenQuestions, bool),
        mut events: Vec<Event>,
        access: &AccessControl,
    ) -> Put {
        let waiting = self.events.get(&key).copied().unwrap_or_default();
        let all = events.len();
        events.truncate(MAX_WAITING.saturating_sub(waiting));
        let kept = events.len();
        let mut put = Put {
            first: false,
            kept: kept as u64,
            dropped: (all - kept) as u64,
        };
        if kept == 0 {
            return put;
        }
        *self.events.entry(key).or_default() += kept;
        let lines = self.lines.entry(channel.clone()).or_default();
        let line = lines.entry(key).or_default();
        put.first = line.is_empty();
        match line.back_mut() {
            Some(last) if (&last.asked, last.borrowed) == (&asked, borrowed) => {
                last.events.append(&mut events);
            }
            _ => line.push_back(Waiting {
                answer: Some(Box::pin(access.ask(asked.clone()))),
                asked,
                borrowed,
                events,
            }),
        }
        put
    }

    /// Returns the next answer to wait for; `None` if nothing waits any more.
    pub(super) fn next(
        &mut self,
        key: Key,
        channel: &Channel,
    ) -> Option<BoxFuture<'static, AuthorizerAnswer>> {
        let lines = self.lines.get_mut(channel)?;
        let answer = lines
            .get_mut(&key)
            .and_then(|line| line.front_mut()?.answer.take());
        if answer.is_none() {
            lines.remove(&key);
            if lines.is_empty() {
                self.lines.remove(channel);
            }
        }
        answer
    }

    /// Takes the events that waited for the answer that has arrived, and whether it is about a subscription's credential.
    pub(super) fn take(&mut self, key: Key, channel: &Channel) -> (Vec<Event>, bool) {
        let line = self.lines.get_mut(channel).and_then(|lines| lines.get_mut(&key));
        let taken = line.and_then(VecDeque::pop_front);
        let (events, borrowed) = taken
            .map(|waiting| (waiting.events, waiting.borrowed))
            .unwrap_or_default();
        if let Some(count) = self.events.get_mut(&key) {
            *count -= events.len();
            if *count == 0 {
                self.events.remove(&key);
            }
        }
        (events, borrowed)
    }
}
