//! Events for connections of which the authorizer has yet to say whether they may read the channel. They wait, in
//! order, until it has.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use ahash::AHashMap;
use fanfare_core::{
    Channel, Event,
    policy::{Authorizer, Question, may_see},
};

use super::{
    Prepared, Shard,
    connection::{Connection, Key},
    counters::add,
};

/// Events that wait for one connection, whatever their channels. More are dropped, and counted as such.
const MAX_WAITING: usize = 256;

/// What waits, by connection.
#[derive(Default)]
pub(super) struct Undecided(AHashMap<Key, Waiting>);

#[derive(Default)]
struct Waiting {
    events: usize,
    by_channel: AHashMap<Channel, Vec<Event>>,
}

/// What became of events that were to wait.
struct Put {
    /// Whether they are the first for that connection and channel.
    first: bool,
    kept: u64,
    dropped: u64,
}

impl Undecided {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something waits already, so that what comes later must wait, too.
    pub(super) fn waits(&self, key: Key, channel: &Channel) -> bool {
        self.0
            .get(&key)
            .is_some_and(|waiting| waiting.by_channel.contains_key(channel))
    }

    /// Keeps `events`, as far as there is room.
    fn put(&mut self, key: Key, channel: &Channel, events: impl Iterator<Item = Event>) -> Put {
        let waiting = self.0.entry(key).or_default();
        let first = !waiting.by_channel.contains_key(channel);
        let mut dropped = 0;
        let mut kept = Vec::new();
        for event in events {
            if waiting.events < MAX_WAITING {
                waiting.events += 1;
                kept.push(event);
            } else {
                dropped += 1;
            }
        }
        let put = Put {
            first: first && !kept.is_empty(),
            kept: kept.len() as u64,
            dropped,
        };
        if !kept.is_empty() {
            waiting
                .by_channel
                .entry(channel.clone())
                .or_default()
                .extend(kept);
        }
        put
    }

    fn take(&mut self, key: Key, channel: &Channel) -> Vec<Event> {
        let Some(waiting) = self.0.get_mut(&key) else {
            return Vec::new();
        };
        let events = waiting.by_channel.remove(channel).unwrap_or_default();
        waiting.events -= events.len();
        if waiting.by_channel.is_empty() {
            self.0.remove(&key);
        }
        events
    }
}

impl Shard {
    /// Keeps `events` until `authorizer` has answered, then sends them or not.
    pub(super) fn hold_back(
        self: &Rc<Self>,
        key: Key,
        authorizer: Arc<dyn Authorizer>,
        question: Question,
        events: impl Iterator<Item = Event>,
    ) {
        let channel = question.channel.clone();
        let put = self.undecided.borrow_mut().put(key, &channel, events);
        add(&self.node.counters.events_undecided, put.kept);
        if let Some(connection) = Connection::at(&mut self.connections.borrow_mut(), key) {
            add(&connection.class().0.counters.dropped, put.dropped);
        }
        if !put.first {
            return;
        }
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            let allowed = authorizer.ask(question).await;
            let waiting = shard.undecided.borrow_mut().take(key, &channel);
            let undecided = &shard.node.counters.events_undecided;
            undecided.fetch_sub(waiting.len() as u64, Relaxed);
            if allowed {
                shard.send_late(key, &channel, waiting);
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
            if !may_see(event.private_to.as_deref(), connection.identity.as_deref()) {
                continue;
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
