//! Reads replays from the journal that the nodes share.

use std::{
    sync::{Arc, Mutex, Weak},
    time::SystemTime,
};

use ahash::RandomState;
use fanfare_core::{
    Event,
    history::{Cursor, Epoch, History, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery},
    locked,
};
use hashlink::LruCache;
use tokio::sync::Semaphore;

use crate::{
    node::Node,
    transport::journal::{StoredMessage, StoredReplay},
    wire::{self, Rejected},
};

/// The most concurrent reads. After a restart thousands of clients resume at once. Publications and the check of the connection must not
/// wait behind all of them, or the node closes the connection as dead.
const READS_AT_ONCE: usize = 16;

/// The most events that share one copy among all connections.
const SHARED_EVENTS: usize = 4096;

/// Reads replays, with a limit of concurrent reads.
pub(crate) struct Replays {
    turns: Semaphore,
    /// The events in replays, by epoch and number. Connections that missed the same events share their memory and their renderings.
    events: Mutex<LruCache<(Epoch, u64), Weak<Event>, RandomState>>,
}

impl Default for Replays {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(READS_AT_ONCE),
            events: Mutex::new(LruCache::with_hasher(SHARED_EVENTS, RandomState::new())),
        }
    }
}

impl Replays {
    /// Reads `query` from the journal of `node`. Also returns the journal's floor. If the journal is unavailable, no event is recovered.
    /// Unless earlier publications are settled (`is_settled`), a cursor is expired.
    pub(crate) async fn read(&self, node: &Node, query: &ReplayQuery, is_settled: bool) -> (Replay, u64) {
        let _turn = self.turns.acquire().await;
        let read = node.ask_journal(query, |journal, query| journal.read(query));
        match read.await {
            Ok(stored) => {
                let floor = stored.floor;
                (self.events_of(stored, query.from, is_settled), floor)
            }
            Err(error) => {
                if node.link.current().is_some() {
                    tracing::warn!(%error, "the journal could not be read");
                }
                (Replay::unreachable(), 0)
            }
        }
    }

    fn events_of(&self, stored: StoredReplay, from: ReplayFrom, is_settled: bool) -> Replay {
        let (now, mut is_unread) = (SystemTime::now(), false);
        let read = |message| {
            let event = self.event(message, now);
            is_unread |= event
                .as_ref()
                .is_err_and(|rejected| !rejected.is_by_every_version());
            event.ok()
        };
        let mut events: Vec<_> = stored.messages.into_iter().filter_map(read).collect();
        let mut unrecovered = stored.unrecovered;
        // An event that this version cannot read is missing.
        let is_lost = |since: Cursor| !is_settled || since.number < stored.floor || is_unread;
        if unrecovered.is_none() && from.since().is_some_and(is_lost) {
            unrecovered = Some(Unrecovered::Expired);
            if matches!(from, ReplayFrom::After(_)) {
                events.clear();
            }
        }
        Replay {
            present: Some(stored.present),
            unrecovered,
            events,
        }
    }

    /// Returns the event of a stored message. If a connection already has the event, returns that copy.
    fn event(&self, stored: StoredMessage, now: SystemTime) -> Result<Arc<Event>, Rejected> {
        let key = (stored.position.epoch, stored.position.number);
        let known = || locked(&self.events).get(&key).and_then(Weak::upgrade);
        if let Some(event) = known() {
            return Ok(event);
        }
        // Parsed outside the lock, for which all resuming connections wait.
        let event = event(stored, now)?;
        let mut events = locked(&self.events);
        if let Some(event) = events.get(&key).and_then(Weak::upgrade) {
            return Ok(event);
        }
        events.insert(key, Arc::downgrade(&event));
        Ok(event)
    }
}

/// Parses the event of a stored message.
fn event(stored: StoredMessage, now: SystemTime) -> Result<Arc<Event>, Rejected> {
    let (event, _) = wire::parse_event(stored.audience, &stored.payload, now)?;
    Ok(Arc::new(Event {
        history: History::Kept(stored.position),
        ..event
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::{Audience, Broker, Channel, journal::ReplayScope};
    use futures_util::future::join_all;

    use super::*;
    use crate::{
        journal::MemoryJournal,
        test_hub::{Hub, KEEP, to},
    };

    /// A crowd that resumes: each client waits for its turn, and all are replayed one copy of the event.
    #[tokio::test]
    async fn a_crowd_reads_a_few_at_a_time_and_shares_the_events() {
        let hub = Hub::keeping(MemoryJournal::new(1 << 20));
        let node = hub.node("a").await;
        let audience = Audience::Channel(Channel::new("chat.a").unwrap());
        let event = Event {
            history: History::Wanted(KEEP),
            ..to(audience.clone(), "1")
        };
        node.publish_without_receipt(event).await;
        let query = ReplayQuery {
            scope: ReplayScope::of(&audience),
            from: ReplayFrom::Newest(1),
            limit: 10,
        };
        let crowd = join_all((0..100).map(|_| node.broker.replay(query.clone()))).await;
        assert_eq!(hub.most_requests_at_once(), READS_AT_ONCE);
        let first = &crowd[0].events[0];
        assert!(crowd.iter().all(|replay| Arc::ptr_eq(&replay.events[0], first)));

        hub.set_away(true);
        let away = join_all((0..100).map(|_| node.broker.replay(query.clone()))).await;
        assert!(
            away.iter()
                .all(|replay| replay.unrecovered == Some(Unrecovered::Expired))
        );
    }
}
