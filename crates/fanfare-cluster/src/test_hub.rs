//! For tests: a transport in the process that counts what travels, and whose nodes can be frozen.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Claim, Entered, EntryTicket, Event,
    Inbound, Interest, Member, Presence, PublishOptions, RawJson, Reach, Receipt, UserId,
};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::{
    ClusterBroker, ClusterOptions,
    transport::{
        Accepted, Failed, IdStore, Message, PresenceStore, PublishError, Published, Received, Receiver,
        Sender, Stored, Subject, Subscriber, Transport, WantedId,
    },
};

/// What nodes are connected to.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Mutex<State>>);

struct State {
    counts: bool,
    away: bool,
    listeners: Vec<Listener>,
    published: Vec<(Subject, Bytes)>,
}

struct Listener {
    number: usize,
    subjects: HashSet<Subject>,
    messages: mpsc::UnboundedSender<Received>,
}

impl Hub {
    /// A hub that reports how many listeners a message goes to (`counts`), or does not know.
    pub(crate) fn new(counts: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            counts,
            away: false,
            listeners: Vec::new(),
            published: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Cuts all connections, and allows no new ones until it is back.
    pub(crate) fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.away = away;
        state.listeners.clear();
    }

    /// What was published since the last call on subjects that `counts` says yes to.
    pub(crate) fn take_published(&self, counts: impl Fn(&Subject, &[u8]) -> bool) -> usize {
        let published = std::mem::take(&mut self.state().published);
        published
            .iter()
            .filter(|(subject, payload)| counts(subject, payload))
            .count()
    }

    /// Publishes `payload` as another program does.
    pub(crate) fn publish(&self, subject: Subject, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        let (id, keep) = (None, None);
        let message = Message {
            subject,
            payload,
            id,
            keep,
        };
        self.carry(&message).unwrap();
    }

    fn carry(&self, message: &Message) -> Published {
        let mut state = self.state();
        if state.away {
            return Err(PublishError::Lost);
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
                    payload: message.payload.clone(),
                    version: None,
                    position: None,
                };
                listeners += u32::from(subscribed && listener.messages.send(received).is_ok());
            }
        }
        Ok(Accepted {
            listeners: state.counts.then_some(listeners),
            id_refused: None,
            position: None,
            unkept: None,
        })
    }

    /// A node that is connected.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.node_with(name, None).await
    }

    /// The same with a store of presence.
    pub(crate) async fn node_with(&self, name: &str, store: Option<Arc<dyn PresenceStore>>) -> Node {
        let (frozen, is_frozen) = watch::channel(false);
        let transport = Arc::new(Connection {
            hub: self.clone(),
            number: 0,
            is_frozen,
            store,
        });
        let inbound = Arc::new(Recorder {
            name: name.to_owned(),
            ..Recorder::default()
        });
        let options = ClusterOptions {
            node_id: name.to_owned(),
            linger: Duration::ZERO,
            max_remembered_ids: 1000,
            max_listed_members: 1000,
            max_watched: crate::MAX_WATCHED,
            max_fetched: crate::MAX_FETCHED,
        };
        let broker = ClusterBroker::new(transport, &options, inbound.clone());
        let node = Node {
            broker,
            inbound,
            frozen,
        };
        eventually("it is connected", async || {
            matches!(node.broker.health().await, BrokerHealth::Connected { .. })
        })
        .await;
        node
    }

    /// Nodes of these names, which know each other.
    pub(crate) async fn nodes<const COUNT: usize>(&self, names: [&str; COUNT]) -> [Node; COUNT] {
        let nodes = futures_util::future::join_all(names.map(|name| self.node(name))).await;
        for node in &nodes {
            eventually("all nodes answer", async || node.ask("q").await.len() == COUNT).await;
        }
        nodes.try_into().unwrap_or_else(|_| unreachable!())
    }
}

/// A node's broker, and what stands for its connections.
pub(crate) struct Node {
    pub(crate) broker: ClusterBroker,
    pub(crate) inbound: Arc<Recorder>,
    frozen: watch::Sender<bool>,
}

impl Node {
    /// Whether it neither receives nor publishes.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(crate) async fn hold(&self, user: &str) {
        let interest = Interest::User(UserId::new(user).unwrap());
        self.inbound.held.lock().unwrap().insert(interest.clone());
        self.broker.subscribe(interest).await;
    }

    pub(crate) async fn ask(&self, question: &'static str) -> Vec<Bytes> {
        self.broker.ask(Bytes::from(question)).await.answers
    }

    pub(crate) async fn publish(&self, event: Event) -> Receipt {
        self.broker
            .publish(vec![event], PublishOptions { receipt: true })
            .await[0]
    }

    /// Publishes without asking whom it reaches.
    pub(crate) async fn say(&self, event: Event) -> Receipt {
        self.broker
            .publish(vec![event], PublishOptions { receipt: false })
            .await[0]
    }
}

pub(crate) fn to_user(user: &str, data: &str) -> Event {
    to(Audience::User(UserId::new(user).unwrap()), data)
}

pub(crate) fn to(audience: Audience, data: &str) -> Event {
    let data = RawJson::parse(&Bytes::copy_from_slice(data.as_bytes())).unwrap();
    Event::new(audience, Some("test"), data, SystemTime::now())
}

/// Waits, generously, until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(result.is_ok(), "not within 30 seconds: {what}");
}

/// Stands for a node's connections: one for each interest held.
#[derive(Default)]
pub(crate) struct Recorder {
    name: String,
    held: Mutex<HashSet<Interest>>,
    seen: Mutex<Vec<String>>,
    notices: Mutex<Vec<Bytes>>,
}

impl Recorder {
    /// The data of what was delivered, in order.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn notices(&self) -> Vec<Bytes> {
        self.notices.lock().unwrap().clone()
    }
}

impl Inbound for Recorder {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>> {
        let held = self.held.lock().unwrap();
        let reach = |event: &Event| {
            let count = match &event.audience {
                Audience::Everyone => held.len() as u64,
                Audience::User(user) => u64::from(held.contains(&Interest::User(user.clone()))),
                Audience::Channel(channel) => u64::from(held.contains(&Interest::Channel(channel.clone()))),
            };
            Reach {
                matched: count,
                queued: count,
                dropped: 0,
            }
        };
        let reaches = events.iter().map(reach).collect();
        let data = events.iter().map(|event| event.data.as_str().to_owned());
        self.seen.lock().unwrap().extend(data);
        Box::pin(std::future::ready(reaches))
    }

    fn received(&self, _: u64) {}

    fn rejected(&self) {}

    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes> {
        let answer = [self.name.as_bytes(), b":", &question].concat();
        Box::pin(std::future::ready(answer.into()))
    }

    fn on_notice(&self, notice: Bytes) {
        self.notices.lock().unwrap().push(notice);
    }

    fn entered(&self, _: EntryTicket, _: Entered) {}

    fn announcement(&self, _: Presence, _: &Channel, _: &Member) -> Option<Event> {
        None
    }
}

/// A node's way to the hub.
#[derive(Clone)]
struct Connection {
    hub: Hub,
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
        if self.hub.state().away {
            return Err("away".to_owned());
        }
        Ok(self.clone())
    }

    async fn check_here(&self) -> Result<(), Failed> {
        self.thawed().await;
        let is_there = !self.hub.state().away;
        is_there.then_some(()).ok_or("away".to_owned())
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
                subjects: HashSet::new(),
                messages,
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
            }
        });
        Box::pin(std::future::ready(opened))
    }
}

impl Sender for Connection {
    fn publish<'a>(&'a self, messages: &'a [Message]) -> BoxFuture<'a, Vec<Published>> {
        Box::pin(async move {
            self.thawed().await;
            messages.iter().map(|message| self.hub.carry(message)).collect()
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.check_here())
    }

    fn ids(&self) -> &dyn IdStore {
        self
    }

    fn presence(&self) -> Option<&dyn PresenceStore> {
        self.store.as_deref()
    }
}

impl Subscriber for Connection {
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        self.change(|subscribed| subscribed.extend(subjects.iter().cloned()))
    }

    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        self.change(|subscribed| subscribed.retain(|subject| !subjects.contains(subject)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.check_here())
    }
}

/// It stores nothing.
impl IdStore for Connection {
    fn claim<'a>(&'a self, ids: &'a [WantedId]) -> BoxFuture<'a, Stored<Vec<Option<Claim>>>> {
        let stored = Stored::default().map(|()| vec![None; ids.len()]);
        Box::pin(std::future::ready(stored))
    }

    fn settle<'a>(&'a self, _: &'a [(Uuid, Receipt)]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(std::future::ready(Stored::default()))
    }

    fn release<'a>(&'a self, _: &'a [Uuid]) -> BoxFuture<'a, Stored<()>> {
        Box::pin(std::future::ready(Stored::default()))
    }
}
