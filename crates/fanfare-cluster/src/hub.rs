//! A transport in the process, for tests. It counts messages, loses those that a test chooses, and may have a journal.

#![allow(clippy::unwrap_used)]

mod faults;
mod stores;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Event, Inbound, RawJson,
    history::{History, Position, Retention},
};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

use crate::{
    ClusterBroker, ClusterOptions,
    journal::MemoryJournal,
    transport::{
        Accepted, Batch, Failed, IdStore, Message, PresenceStore, PublishError, Published, Received,
        Receiver, Sender, Subject, Subscriber, Transport, journal::JournalStore,
    },
};

/// The server of the transport.
#[derive(Clone)]
pub struct Hub(Arc<Mutex<HubState>>, Option<Arc<MemoryJournal>>);

/// The journal's entry for a message that is not JSON, because the journal keeps only JSON.
static NO_JSON: Bytes = Bytes::from_static(b"\"no JSON\"");

struct HubState {
    counts: bool,
    away: bool,
    listeners: Vec<Listener>,
    published: Vec<(Subject, Bytes)>,
    /// The kept messages, each with its number and audience.
    kept: Vec<(u64, Audience, Bytes)>,
    /// The connected nodes that receive no message.
    deaf: HashSet<String>,
    /// The nodes that cannot connect.
    cut: HashSet<String>,
    /// A node, and the beginning of the message with which it loses its publishing connection.
    loses: Option<(String, &'static [u8])>,
    /// Whether the hub confirms no subscriptions to users.
    stalls: bool,
    plain: PlainPublications,
    /// The number of next requests that the journal refuses.
    refusals: u32,
    /// The present number of requests to the journal, and the highest number ever.
    asked: (usize, usize),
    /// The number of next requests for kept events that the journal answers. Later ones wait.
    answers: usize,
    /// The journal's floor.
    floor: u64,
}

/// Whether backends publish on the transport itself.
#[derive(Clone, Copy, PartialEq)]
enum PlainPublications {
    None,
    /// They do, and the store answers ticks.
    Ticking,
    /// They do, and the store does not answer ticks.
    Stalled,
}

struct Listener {
    number: usize,
    node: String,
    subjects: HashSet<Subject>,
    /// `None` if the connection is lost and the hub has not noticed.
    messages: Option<mpsc::UnboundedSender<Received>>,
}

impl Hub {
    /// Creates a hub without a journal. `counts` is whether it counts the listeners of a message.
    pub fn new(counts: bool) -> Self {
        let state = HubState {
            counts,
            away: false,
            listeners: Vec::new(),
            published: Vec::new(),
            kept: Vec::new(),
            deaf: HashSet::new(),
            cut: HashSet::new(),
            loses: None,
            stalls: false,
            plain: PlainPublications::None,
            refusals: 0,
            asked: (0, 0),
            answers: usize::MAX,
            floor: 0,
        };
        Self(Arc::new(Mutex::new(state)), None)
    }

    /// Creates a hub with a journal, which counts.
    pub fn keeping(journal: MemoryJournal) -> Self {
        let Self(state, _) = Self::new(true);
        Self(state, Some(Arc::new(journal)))
    }

    /// Like [`Self::keeping`], with backends that publish on the transport itself. No node records those publications.
    pub fn with_plain_publications(journal: MemoryJournal) -> Self {
        let this = Self::keeping(journal);
        this.set_ticks_stalled(false);
        this
    }

    /// Sets whether the store leaves ticks unanswered.
    pub fn set_ticks_stalled(&self, stalled: bool) {
        self.state().plain = if stalled {
            PlainPublications::Stalled
        } else {
            PlainPublications::Ticking
        };
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        self.0.lock().unwrap()
    }

    /// Returns the journal.
    ///
    /// # Panics
    /// If the hub has none.
    pub fn journal(&self) -> &MemoryJournal {
        self.1.as_ref().unwrap()
    }

    /// Returns the highest number of concurrent requests to the journal.
    pub fn most_requests_at_once(&self) -> usize {
        self.state().asked.1
    }

    /// Counts a request to the journal, and yields as a round trip does.
    async fn round_trip(&self) {
        {
            let mut state = self.state();
            let asked = state.asked.0 + 1;
            state.asked = (asked, state.asked.1.max(asked));
        }
        tokio::task::yield_now().await;
        while self.state().answers == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut state = self.state();
        state.answers -= 1;
        state.asked.0 -= 1;
    }

    /// Returns all messages that were ever kept, in order, each with its number and audience.
    pub fn kept(&self) -> Vec<(u64, Audience, Bytes)> {
        self.state().kept.clone()
    }

    /// Returns the number of messages since the last call for which `counts` returns `true`.
    pub fn take_published(&self, counts: impl Fn(&Subject, &[u8]) -> bool) -> usize {
        let published = std::mem::take(&mut self.state().published);
        published
            .iter()
            .filter(|(subject, payload)| counts(subject, payload))
            .count()
    }

    /// Publishes `payload` as a backend does.
    ///
    /// # Panics
    /// While the hub is away.
    pub fn publish(&self, subject: Subject, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        let message = Message {
            subject,
            payload,
            id: None,
            keep: None,
        };
        self.carry(&message).unwrap();
    }

    /// Keeps and publishes `payload` as a backend does.
    ///
    /// # Panics
    /// While the hub is away.
    pub fn publish_kept(&self, audience: &Audience, payload: &[u8], keep: Retention) {
        let message = Message {
            subject: Subject::Audience(audience.clone()),
            payload: Bytes::copy_from_slice(payload),
            id: None,
            keep: Some(keep),
        };
        self.carry(&message).unwrap();
    }

    /// Starts the broker of a node behind `inbound`.
    pub fn broker(&self, node: &str, inbound: Arc<dyn Inbound>) -> ClusterBroker {
        let (_, is_frozen) = watch::channel(false);
        self.broker_with(node, inbound, (is_frozen, None))
    }

    /// Like [`Self::broker`], with a store of presence, for a node that a test may freeze.
    pub(crate) fn broker_with(
        &self,
        node: &str,
        inbound: Arc<dyn Inbound>,
        (is_frozen, store): (watch::Receiver<bool>, Option<Arc<dyn PresenceStore>>),
    ) -> ClusterBroker {
        let transport = Arc::new(Connection {
            hub: self.clone(),
            node: node.to_owned(),
            number: 0,
            is_frozen,
            store,
        });
        let options = ClusterOptions {
            node_id: node.to_owned(),
            linger: Duration::ZERO,
            max_remembered_ids: 1000,
            max_listed_members: 1000,
            max_known_members: 1000,
            ..ClusterOptions::default()
        };
        ClusterBroker::new(transport, &options, inbound)
    }

    /// Keeps `message`, if it has a retention.
    fn keep(&self, message: &Message) -> Option<Position> {
        let (journal, Subject::Audience(audience)) = (self.1.as_ref()?, &message.subject) else {
            return None;
        };
        let keep: Retention = message.keep?;
        let data = RawJson::parse(&message.payload).or_else(|_| RawJson::parse(&NO_JSON));
        let data = data.ok()?;
        let event = Event {
            history: History::Wanted(keep),
            ..Event::new(audience.clone(), None, data, SystemTime::UNIX_EPOCH)
        };
        journal.append(vec![event], |events| events[0].history.position())
    }

    fn carry(&self, message: &Message) -> Published {
        let mut state = self.state();
        if state.away {
            return Err(PublishError::Lost);
        }
        let position = self.keep(message);
        if let (Some(position), Subject::Audience(audience)) = (position, &message.subject) {
            let kept = (position.number, audience.clone(), message.payload.clone());
            state.kept.push(kept);
        }
        state
            .published
            .push((message.subject.clone(), message.payload.clone()));
        let is_channel = matches!(message.subject, Subject::Audience(Audience::Channel(_)));
        let mut listeners = 0;
        for listener in &state.listeners {
            for by_all_channels in [false, true] {
                let subscribed = if by_all_channels {
                    is_channel && listener.subjects.contains(&Subject::AllChannels)
                } else {
                    listener.subjects.contains(&message.subject)
                };
                let received = Received {
                    subject: Ok(message.subject.clone()),
                    by_all_channels,
                    is_sharded: false,
                    payload: message.payload.clone(),
                    version: None,
                    position,
                };
                let is_deaf = state.deaf.contains(&listener.node);
                let send = |messages: &mpsc::UnboundedSender<_>| messages.send(received).is_ok();
                let is_sent = subscribed && (is_deaf || listener.messages.as_ref().is_none_or(send));
                listeners += u32::from(is_sent);
            }
        }
        Ok(Accepted {
            listeners: state.counts.then_some(listeners),
            id_refused: None,
            position,
            unkept: None,
        })
    }

    /// Returns the number of subscribers of each of `subjects`, if the hub counts.
    fn count(&self, subjects: &[Subject]) -> Vec<u32> {
        let state = self.state();
        let count = |subject| {
            let listeners = state.listeners.iter();
            let count = listeners
                .filter(|listener| listener.subjects.contains(subject))
                .count();
            u32::try_from(count).unwrap()
        };
        let known = subjects.iter().filter(|_| state.counts);
        known.map(count).collect()
    }

    /// Fails if the journal refuses a request now.
    fn journal_answers(&self) -> Result<(), Failed> {
        let mut state = self.state();
        if state.away {
            return Err("away".to_owned());
        }
        if state.refusals > 0 {
            state.refusals -= 1;
            return Err("refused".to_owned());
        }
        Ok(())
    }
}

/// A node's connection to the hub.
#[derive(Clone)]
struct Connection {
    hub: Hub,
    node: String,
    number: usize,
    is_frozen: watch::Receiver<bool>,
    store: Option<Arc<dyn PresenceStore>>,
}

impl Connection {
    async fn thawed(&self) {
        let mut is_frozen = self.is_frozen.clone();
        let _ = is_frozen.wait_for(|is_frozen| !is_frozen).await;
    }

    fn open(&self) -> Result<Self, Failed> {
        self.is_reachable().then(|| self.clone()).ok_or("away".to_owned())
    }

    async fn check_reachable(&self) -> Result<(), Failed> {
        self.thawed().await;
        self.is_reachable().then_some(()).ok_or("away".to_owned())
    }

    /// Returns whether the connection is lost with one of `messages`.
    fn loses(&self, messages: &[Message]) -> bool {
        let is_it = |(node, beginning): &mut (String, &'static [u8])| {
            let mut payloads = messages.iter().map(|message| &message.payload);
            *node == self.node && payloads.any(|payload| payload.starts_with(beginning))
        };
        self.hub.state().loses.take_if(is_it).is_some()
    }

    fn is_reachable(&self) -> bool {
        let state = self.hub.state();
        !state.away && !state.cut.contains(&self.node)
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<Subject>)) -> BoxFuture<'_, Result<(), Failed>> {
        let mut state = self.hub.state();
        let listener = state
            .listeners
            .iter_mut()
            .find(|listener| listener.number == self.number);
        let changed = listener.map(|listener| change(&mut listener.subjects));
        Box::pin(std::future::ready(changed.ok_or("lost".to_owned())))
    }
}

impl Transport for Connection {
    fn name(&self) -> &'static str {
        "hub"
    }

    fn address(&self) -> String {
        "here".to_owned()
    }

    fn has_plain_publications(&self) -> bool {
        self.hub.state().plain != PlainPublications::None
    }

    fn open_sender(&self) -> BoxFuture<'_, Result<Box<dyn Sender>, Failed>> {
        let opened = self
            .open()
            .map(|connection| Box::new(connection) as Box<dyn Sender>);
        Box::pin(std::future::ready(opened))
    }

    fn open_receiver(&self) -> BoxFuture<'_, Result<Receiver, Failed>> {
        let opened = self.open().map(|mut connection| {
            let (messages, received) = mpsc::unbounded_channel();
            connection.number = rand::random_range(1..usize::MAX);
            self.hub.state().listeners.push(Listener {
                number: connection.number,
                node: connection.node.clone(),
                subjects: HashSet::new(),
                messages: Some(messages),
            });
            let messages = futures_util::stream::unfold(
                (received, connection.clone()),
                async |(mut received, connection)| {
                    connection.thawed().await;
                    let message = received.recv().await?;
                    connection.thawed().await;
                    Some((message, (received, connection)))
                },
            );
            Receiver {
                subscriber: Box::new(connection),
                messages: messages.boxed(),
                further: None,
            }
        });
        Box::pin(std::future::ready(opened))
    }
}

impl Sender for Connection {
    fn publish<'a>(&'a self, messages: &'a [Message], counted: &'a [Subject]) -> BoxFuture<'a, Batch> {
        Box::pin(async move {
            self.thawed().await;
            if !self.is_reachable() || self.loses(messages) {
                return (vec![Err(PublishError::Lost); messages.len()], Ok(Vec::new()));
            }
            let published = messages.iter().map(|message| self.hub.carry(message)).collect();
            (published, Ok(self.hub.count(counted)))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.check_reachable())
    }

    fn ids(&self) -> &dyn IdStore {
        self
    }

    fn presence(&self) -> Option<&dyn PresenceStore> {
        self.store.as_deref()
    }

    fn journal(&self) -> Option<&dyn JournalStore> {
        self.hub.1.as_ref().map(|_| self as &dyn JournalStore)
    }
}

impl Subscriber for Connection {
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        let is_user = |subject: &Subject| matches!(subject, Subject::Audience(Audience::User(_)));
        Box::pin(async move {
            while self.hub.state().stalls && subjects.iter().any(is_user) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.change(|subscribed| subscribed.extend(subjects.iter().cloned()))
                .await
        })
    }

    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        self.change(|subscribed| subscribed.retain(|subject| !subjects.contains(subject)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.check_reachable())
    }
}
