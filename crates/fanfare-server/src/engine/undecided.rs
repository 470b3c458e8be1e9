//! Events for connections of which the authorizer has yet to say whether they may read the channel. They wait, in
//! order, until it has.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use ahash::AHashMap;
use fanfare_core::{
    Channel, Event,
    policy::{Authorizer, Question},
};

use super::{
    Prepared, Shard,
    connection::{Connection, Key},
    counters::add,
};

/// Events that wait for one answer. More are dropped, and counted as such.
const MAX_WAITING: usize = 256;

/// What waits, by connection and channel.
#[derive(Default)]
pub(super) struct Undecided(AHashMap<(Key, Channel), Vec<Event>>);

impl Undecided {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something waits already, so that what comes later must wait, too.
    pub(super) fn waits(&self, key: Key, channel: &Channel) -> bool {
        !self.is_empty() && self.0.contains_key(&(key, channel.clone()))
    }
}

impl Shard {
    /// Keeps `event` until `authorizer` has answered, then sends it or not.
    pub(super) fn hold_back(
        self: &Rc<Self>,
        key: Key,
        authorizer: Arc<dyn Authorizer>,
        question: Question,
        event: Event,
    ) {
        let place = (key, question.channel.clone());
        if let Some(waiting) = self.undecided.borrow_mut().0.get_mut(&place) {
            if waiting.len() < MAX_WAITING {
                waiting.push(event);
                self.node.counters.events_undecided.fetch_add(1, Relaxed);
            } else if let Some(connection) = Connection::at(&mut self.connections.borrow_mut(), key) {
                add(&connection.class().0.counters.dropped, 1);
            }
            return;
        }
        self.undecided.borrow_mut().0.insert(place.clone(), vec![event]);
        self.node.counters.events_undecided.fetch_add(1, Relaxed);
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            let allowed = authorizer.ask(question).await;
            let waiting = shard.undecided.borrow_mut().0.remove(&place).unwrap_or_default();
            let undecided = &shard.node.counters.events_undecided;
            undecided.fetch_sub(waiting.len() as u64, Relaxed);
            if allowed {
                shard.send_late(key, waiting);
            }
        });
    }

    fn send_late(&self, key: Key, events: Vec<Event>) {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let Some(connection) = Connection::receiver_at(&mut connections, key) else {
            return;
        };
        for event in events {
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
