//! The events that wait until the authorizer decides whether a connection may read them, in the order of each channel.

use std::collections::VecDeque;

use ahash::AHashMap;
use fanfare_core::{
    BoxFuture, Channel, Event,
    policy::{AccessControl, AuthorizerAnswer, OpenQuestions},
};

use super::connections::Key;

/// The most events that wait for one connection, on all channels. Further events are dropped and counted.
const MAX_WAITING: usize = 256;

/// The waiting events, by channel and connection.
#[derive(Default)]
pub(super) struct Undecided {
    queues: AHashMap<Channel, AHashMap<Key, Queue>>,
    /// The number of waiting events of each connection.
    events: AHashMap<Key, usize>,
}

/// The waiting events of one connection on one channel, the oldest first.
type Queue = VecDeque<Waiting>;

/// Consecutive events that wait for the same answer.
struct Waiting {
    asked: OpenQuestions,
    /// Whether the question is about the subscription's credential, not the connection's.
    by_subscription: bool,
    /// The answer to come; `None` while a task waits for it.
    answer: Option<BoxFuture<'static, AuthorizerAnswer>>,
    events: Vec<Event>,
}

/// The result of [`Undecided::put`].
pub(super) struct PutResult {
    /// Whether no other event waited for that connection and channel.
    pub(super) first: bool,
    pub(super) kept: u64,
    pub(super) dropped: u64,
}

impl Undecided {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Returns whether an event on `channel` waits for any connection.
    pub(super) fn waits_on(&self, channel: &Channel) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(channel)
    }

    /// Returns whether an event waits for the connection, so that later events must wait behind it.
    pub(super) fn waits(&self, key: Key, channel: &Channel) -> bool {
        self.queues
            .get(channel)
            .is_some_and(|queues| queues.contains_key(&key))
    }

    /// Queues `events` until the authorizer has answered `asked`. Drops those for which there is no room.
    pub(super) fn put(
        &mut self,
        key: Key,
        channel: &Channel,
        (asked, by_subscription): (OpenQuestions, bool),
        mut events: Vec<Event>,
        access: &AccessControl,
    ) -> PutResult {
        let waiting = self.events.get(&key).copied().unwrap_or_default();
        let all = events.len();
        events.truncate(MAX_WAITING.saturating_sub(waiting));
        let kept = events.len();
        let mut put = PutResult {
            first: false,
            kept: kept as u64,
            dropped: (all - kept) as u64,
        };
        if kept == 0 {
            return put;
        }
        *self.events.entry(key).or_default() += kept;
        let queues = self.queues.entry(channel.clone()).or_default();
        let queue = queues.entry(key).or_default();
        put.first = queue.is_empty();
        match queue.back_mut() {
            Some(last) if (&last.asked, last.by_subscription) == (&asked, by_subscription) => {
                last.events.append(&mut events);
            }
            _ => queue.push_back(Waiting {
                answer: Some(Box::pin(access.ask(asked.clone()))),
                asked,
                by_subscription,
                events,
            }),
        }
        put
    }

    /// Returns the next answer to wait for; `None` if no event waits any more.
    pub(super) fn next(
        &mut self,
        key: Key,
        channel: &Channel,
    ) -> Option<BoxFuture<'static, AuthorizerAnswer>> {
        let queues = self.queues.get_mut(channel)?;
        let answer = queues
            .get_mut(&key)
            .and_then(|queue| queue.front_mut()?.answer.take());
        if answer.is_none() {
            queues.remove(&key);
            if queues.is_empty() {
                self.queues.remove(channel);
            }
        }
        answer
    }

    /// Takes the events whose answer has arrived, and whether that is about the subscription's credential.
    pub(super) fn take(&mut self, key: Key, channel: &Channel) -> (Vec<Event>, bool) {
        let queue = self
            .queues
            .get_mut(channel)
            .and_then(|queues| queues.get_mut(&key));
        let taken = queue.and_then(VecDeque::pop_front);
        let (events, by_subscription) = taken
            .map(|waiting| (waiting.events, waiting.by_subscription))
            .unwrap_or_default();
        if let Some(count) = self.events.get_mut(&key) {
            *count -= events.len();
            if *count == 0 {
                self.events.remove(&key);
            }
        }
        (events, by_subscription)
    }
}
