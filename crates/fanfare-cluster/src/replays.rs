//! Reading from the journal that the nodes share.

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
    ANSWER_TIMEOUT,
    link::Link,
    transport::journal::{StoredMessage, StoredReplay},
    wire,
};

/// How many replays are read at once. After a restart thousands of clients resume together; publications and the check of the connection
/// must not wait behind them, or the connection is taken for a dead one.
const READS_AT_ONCE: usize = 16;

/// How many events have one copy for all connections that they are replayed to.
const SHARED_EVENTS: usize = 4096;

/// Reads replays, a few at a time.
pub(crate) struct Replays {
    turns: Semaphore,
    /// The events that are being replayed, by epoch and number: a crowd that missed the same ones shares their memory and their renderings.
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
    /// Has the journal behind `link` answer `query`. While it cannot be reached, nothing is recovered, and no cursor unless
    /// everything `is_settled` that was published before.
    pub(crate) async fn read(&self, link: &Link, query: &ReplayQuery, is_settled: bool) -> Replay {
        let _turn = self.turns.acquire().await;
        let sender = link.current();
        let Some(journal) = sender.as_ref().and_then(|sender| sender.journal()) else {
            return Replay::unreachable();
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, journal.read(query)).await {
            Ok(Ok(stored)) => self.events_of(stored, query.from, is_settled),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the journal could not be read");
                Replay::unreachable()
            }
            Err(_) => Replay::unreachable(),
        }
    }

    fn events_of(&self, mut stored: StoredReplay, from: ReplayFrom, is_settled: bool) -> Replay {
        let is_lost = |since: Cursor| !is_settled || since.number < stored.floor;
        if stored.unrecovered.is_none() && from.since().is_some_and(is_lost) {
            stored.unrecovered = Some(Unrecovered::Expired);
            if matches!(from, ReplayFrom::After(_)) {
                stored.messages.clear();
            }
        }
        let now = SystemTime::now();
        let messages = stored.messages.into_iter();
        Replay {
            present: Some(stored.present),
            unrecovered: stored.unrecovered,
            events: messages.filter_map(|message| self.event(message, now)).collect(),
        }
    }

    /// The event of a stored message, from the connections that have it already.
    fn event(&self, stored: StoredMessage, now: SystemTime) -> Option<Arc<Event>> {
        let key = (stored.position.epoch, stored.position.number);
        let known = || locked(&self.events).get(&key).and_then(Weak::upgrade);
        if let Some(event) = known() {
            return Some(event);
        }
        // Parsed outside the lock, for which all that resume wait.
        let event = event(stored, now)?;
        let mut events = locked(&self.events);
        if let Some(event) = events.get(&key).and_then(Weak::upgrade) {
            return Some(event);
        }
        events.insert(key, Arc::downgrade(&event));
        Some(event)
    }
}

/// The event of a stored message. One that cannot be read reached no connection when it was published, either.
fn event(stored: StoredMessage, now: SystemTime) -> Option<Arc<Event>> {
    let (event, _) = wire::parse_event(stored.audience, &stored.payload, now).ok()?;
    Some(Arc::new(Event {
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
        node.say(event).await;
        let query = ReplayQuery {
            scope: ReplayScope::of(&audience),
            from: ReplayFrom::Newest(1),
            limit: 10,
        };
        let crowd = join_all((0..100).map(|_| node.broker.replay(query.clone()))).await;
        assert_eq!(hub.most_questions_at_once(), READS_AT_ONCE);
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
