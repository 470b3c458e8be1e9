//! Events for connections of which the authorizer has yet to say whether they may read them. They wait, in the order of
//! their channel, until it has.

use std::{collections::VecDeque, rc::Rc, sync::atomic::Ordering::Relaxed};

use ahash::AHashMap;
use fanfare_core::{
    BoxFuture, Channel, Event,
    policy::{AccessControl, AuthorizerAnswer, OpenQuestions, Permission},
};

use super::{
    Prepared, Shard,
    connection::{Connection, Key},
    counters::add,
};

/// Events that wait for one connection, whatever their channels. More are dropped, and counted as such.
const MAX_WAITING: usize = 256;

/// What waits, by channel and connection.
#[derive(Default)]
pub(super) struct Undecided {
    lines: AHashMap<Channel, AHashMap<Key, Line>>,
    /// How many events wait for a connection.
    events: AHashMap<Key, usize>,
}

/// What waits for one connection on one channel, the oldest first.
type Line = VecDeque<Waiting>;

/// Events in a row that wait for the same.
struct Waiting {
    asked: OpenQuestions,
    /// Gone while it is waited for.
    answer: Option<BoxFuture<'static, AuthorizerAnswer>>,
    events: Vec<Event>,
}

/// What became of events that were to wait.
struct Put {
    /// Whether they are the first for that connection and channel.
    first: bool,
    kept: u64,
    dropped: u64,
}

impl Undecided {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether something on `channel` waits for any connection.
    pub(super) fn waits_on(&self, channel: &Channel) -> bool {
        !self.lines.is_empty() && self.lines.contains_key(channel)
    }

    /// Whether something waits already, so that what comes later must wait, too.
    pub(super) fn waits(&self, key: Key, channel: &Channel) -> bool {
        self.lines
            .get(channel)
            .is_some_and(|lines| lines.contains_key(&key))
    }

    /// Keeps `events` until what is `asked` is answered, as far as there is room.
    fn put(
        &mut self,
        key: Key,
        channel: &Channel,
        asked: OpenQuestions,
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
        let line = self
            .lines
            .entry(channel.clone())
            .or_default()
            .entry(key)
            .or_default();
        put.first = line.is_empty();
        match line.back_mut() {
            Some(last) if last.asked == asked => last.events.append(&mut events),
            _ => line.push_back(Waiting {
                answer: Some(Box::pin(access.ask(asked.clone()))),
                asked,
                events,
            }),
        }
        put
    }

    /// The next answer to be waited for; where there is none, nothing waits any more.
    fn next(&mut self, key: Key, channel: &Channel) -> Option<BoxFuture<'static, AuthorizerAnswer>> {
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

    /// The events that waited for the answer which has come.
    fn take(&mut self, key: Key, channel: &Channel) -> Vec<Event> {
        let line = self.lines.get_mut(channel).and_then(|lines| lines.get_mut(&key));
        let taken = line.and_then(VecDeque::pop_front);
        let events = taken.map(|waiting| waiting.events).unwrap_or_default();
        if let Some(count) = self.events.get_mut(&key) {
            *count -= events.len();
            if *count == 0 {
                self.events.remove(&key);
            }
        }
        events
    }
}

impl Shard {
    /// Keeps `events` until the authorizer has answered all that is asked, and what waits before them has gone; then
    /// sends them or not.
    pub(super) fn hold_back(
        self: &Rc<Self>,
        key: Key,
        channel: &Channel,
        asked: OpenQuestions,
        events: impl Iterator<Item = Event>,
    ) {
        let put = self
            .undecided
            .borrow_mut()
            .put(key, channel, asked, events.collect(), &self.node.access);
        add(&self.node.counters.events_undecided, put.kept);
        if let Some(connection) = Connection::at(&mut self.connections.borrow_mut(), key) {
            add(&connection.class().0.counters.dropped, put.dropped);
        }
        if !put.first {
            return;
        }
        let (shard, channel) = (self.clone(), channel.clone());
        tokio::task::spawn_local(async move {
            loop {
                let next = shard.undecided.borrow_mut().next(key, &channel);
                let Some(answer) = next else { return };
                let allowed = answer.await.is_allowed();
                let waiting = shard.undecided.borrow_mut().take(key, &channel);
                let undecided = &shard.node.counters.events_undecided;
                undecided.fetch_sub(waiting.len() as u64, Relaxed);
                if allowed {
                    shard.send_late(key, &channel, waiting);
                }
            }
        });
    }

    fn send_late(&self, key: Key, channel: &Channel, events: Vec<Event>) {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let Some(connection) = Connection::receiver_at(&mut connections, key) else {
            return;
        };
        if !connection.is_shown(channel) {
            return; // it has unsubscribed meanwhile
        }
        for event in events {
            match self.node.access.may_see(connection.reader(channel), &event) {
                Permission::Allowed | Permission::Pending(_) => {} // the authorizer has just been asked
                Permission::Denied => continue,
            }
            let prepared = Prepared::new(event, self.node.dialects.len());
            let (mounted, deflate) = connection.class();
            let mounted = mounted.clone();
            if let Some(frame) = prepared.frame(&mounted, deflate, &mut tools.codec.deflater) {
                let sent = connection.send(&frame, self.node.clock_ms());
                add(&mounted.counters.sent, sent.queued);
                add(&mounted.counters.dropped, sent.dropped);
            }
        }
    }
}
