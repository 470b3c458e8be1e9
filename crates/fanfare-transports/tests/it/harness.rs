//! Nodes without connections, which record the events that they should have delivered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Entered, EntryTicket, Event, Gap,
    Inbound, Interest, Member, Presence, PublishOptions, RawJson, Reach, Receipt, UserId, history::Retention,
};
use fanfare_transports::{BrokerKind, BrokerOptions};

use crate::{
    groups::{self, ClusterGroup, SentinelGroup},
    nats_server::NatsServer,
    server::RedisServer,
};

/// The time for which nodes stay subscribed to all channels; short, so that subscriptions change often in a test.
pub(crate) const LINGER: Duration = Duration::from_millis(10);

/// The publisher requests a receipt.
pub(crate) const RECEIPT: PublishOptions = PublishOptions { receipt: true };

/// The servers that nodes connect to.
pub(crate) enum Cluster {
    Memory,
    Redis(RedisServer),
    Nats(NatsServer),
    Sentinel(Shared<SentinelGroup>),
    Sharded(Shared<ClusterGroup>),
}

/// A group of servers that several tests use at the same time, each with another prefix.
pub(crate) struct Shared<G> {
    pub(crate) group: Arc<G>,
    pub(crate) prefix: String,
}

impl<G> From<Arc<G>> for Shared<G> {
    fn from(group: Arc<G>) -> Self {
        let prefix = format!("{}:", uuid::Uuid::new_v4().simple());
        Self { group, prefix }
    }
}

impl Cluster {
    pub(crate) fn sentinel() -> Self {
        Self::Sentinel(groups::shared_sentinels().into())
    }

    pub(crate) fn redis_cluster() -> Self {
        Self::Sharded(groups::shared_cluster().into())
    }

    /// Returns the kind of broker, and its options.
    pub(crate) fn options(&self) -> (BrokerKind, BrokerOptions) {
        let (kind, options, prefix) = match self {
            Self::Memory => (BrokerKind::Memory, BrokerOptions::default(), ""),
            Self::Redis(server) => {
                let url = server.url();
                let options = BrokerOptions {
                    url,
                    ..BrokerOptions::default()
                };
                (BrokerKind::Redis, options, "")
            }
            Self::Nats(server) => {
                let url = server.url();
                let options = BrokerOptions {
                    url,
                    ..BrokerOptions::default()
                };
                (BrokerKind::Nats, options, "")
            }
            Self::Sentinel(shared) => (BrokerKind::Redis, shared.group.options(), &*shared.prefix),
            Self::Sharded(shared) => (BrokerKind::Redis, shared.group.options(), &*shared.prefix),
        };
        let mut options = BrokerOptions {
            prefix: prefix.to_owned(),
            ..options
        };
        options.node.linger = LINGER;
        (kind, options)
    }

    /// Returns a node that is connected.
    pub(crate) async fn node(&self, id: &str) -> Node {
        let (kind, options) = self.options();
        let node = Node::open_by(kind, &options, id);
        node.ready().await;
        node
    }

    /// Returns three nodes, or one if the broker has only one.
    pub(crate) async fn nodes(&self) -> Vec<Node> {
        if matches!(self, Self::Memory) {
            return vec![self.node("a").await];
        }
        let nodes = [self.node("a").await, self.node("b").await, self.node("c").await];
        reach_each_other(&nodes).await;
        nodes.into()
    }
}

/// Waits until a question of each of `nodes` reaches all nodes.
pub(crate) async fn reach_each_other(nodes: &[Node]) {
    for node in nodes {
        eventually("the nodes reach each other", async || {
            node.broker.ask(Bytes::new()).await.answers.len() == nodes.len()
        })
        .await;
    }
}

impl RedisServer {
    /// Returns a node that is connected to this server.
    pub(crate) async fn node(&self, id: &str) -> Node {
        let node = Node::open(BrokerKind::Redis, &self.url(), id);
        node.ready().await;
        node
    }
}

/// A broker, and the connections that it delivers to.
pub(crate) struct Node {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) inbound: Arc<FakeConnections>,
}

impl Node {
    pub(crate) fn open(kind: BrokerKind, url: &str, id: &str) -> Self {
        Self::open_with(kind, url, id, LINGER)
    }

    /// As [`Self::open`], with another linger.
    pub(crate) fn open_with(kind: BrokerKind, url: &str, id: &str, linger: Duration) -> Self {
        let mut options = BrokerOptions {
            url: url.to_owned(),
            ..BrokerOptions::default()
        };
        options.node.linger = linger;
        Self::open_by(kind, &options, id)
    }

    /// Returns a node on Redis with `prefix` before every name.
    pub(crate) fn open_prefixed(url: &str, prefix: &str) -> Self {
        let options = BrokerOptions {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            ..BrokerOptions::default()
        };
        Self::open_by(BrokerKind::Redis, &options, "")
    }

    /// Returns a node with these options, called `id`.
    pub(crate) fn open_by(kind: BrokerKind, options: &BrokerOptions, id: &str) -> Self {
        let mut options = options.clone();
        id.clone_into(&mut options.node.node_id);
        let inbound = FakeConnections::named(id);
        let port: Arc<dyn Inbound> = inbound.clone();
        let broker = fanfare_transports::open(kind, &options, port).unwrap();
        Self { broker, inbound }
    }

    pub(crate) async fn ready(&self) {
        eventually("the broker is connected", async || {
            !matches!(self.broker.health().await, BrokerHealth::Disconnected { .. })
        })
        .await;
    }

    /// Adds `connections` of `user`, and subscribes.
    pub(crate) async fn hold(&self, user: &str, connections: u64) {
        self.hold_interest(interest(user), connections).await;
    }

    /// Adds `connections` with this interest, and subscribes.
    pub(crate) async fn hold_interest(&self, interest: Interest, connections: u64) {
        self.inbound
            .held
            .lock()
            .unwrap()
            .insert(interest.clone(), connections);
        self.broker.subscribe(interest).await;
    }

    /// Removes the connections with this interest, and unsubscribes.
    pub(crate) fn release(&self, interest: Interest) {
        self.inbound.held.lock().unwrap().remove(&interest);
        self.broker.unsubscribe(interest);
    }

    pub(crate) async fn publish_one(&self, event: Event) -> Receipt {
        let receipts = self.broker.publish(vec![event], RECEIPT).await;
        assert_eq!(receipts.len(), 1);
        receipts[0]
    }
}

/// Stands for the connections of a node.
#[derive(Default)]
pub(crate) struct FakeConnections {
    held: Mutex<HashMap<Interest, u64>>,
    delivered: Mutex<Vec<Event>>,
    received: AtomicU64,
    rejected: AtomicU64,
    pub(crate) sick: AtomicBool,
    name: String,
    /// The way in which questions are answered.
    pub(crate) answer_mode: Mutex<AnswerMode>,
    notices: Mutex<Vec<String>>,
    /// Every audience has history.
    pub(crate) keeps: AtomicBool,
    /// Users have no history.
    pub(crate) forgets_users: AtomicBool,
    pub(crate) gaps: Mutex<Vec<Gap>>,
}

/// The ways in which a node answers questions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum AnswerMode {
    /// With its name, a colon, and the question.
    #[default]
    Normal,
    Never,
    Panics,
    /// With this number of bytes.
    Long(usize),
}

impl FakeConnections {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn named(name: &str) -> Arc<Self> {
        let name = name.to_owned();
        Arc::new(Self {
            name,
            ..Self::default()
        })
    }

    /// Returns the notices, in order.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap().clone()
    }

    pub(crate) fn set_answers(&self, mode: AnswerMode) {
        *self.answer_mode.lock().unwrap() = mode;
    }

    /// Returns the delivered events, in order.
    pub(crate) fn delivered(&self) -> Vec<Event> {
        self.delivered.lock().unwrap().clone()
    }

    /// Returns the data of the delivered events, in order.
    pub(crate) fn data(&self) -> Vec<String> {
        self.delivered()
            .iter()
            .map(|event| event.data.as_str().to_owned())
            .collect()
    }

    /// Forgets the delivered events.
    pub(crate) fn forget(&self) {
        self.delivered.lock().unwrap().clear();
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    pub(crate) fn rejections(&self) -> u64 {
        self.rejected.load(Ordering::SeqCst)
    }
}

impl Inbound for FakeConnections {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>> {
        let reaches: Vec<Reach> = {
            let held = self.held.lock().unwrap();
            let count = |interest| held.get(&interest).copied().unwrap_or(0);
            let reaches = events.iter().map(|event| {
                let connections = match &event.audience {
                    Audience::Everyone => held.values().sum(),
                    Audience::User(user) => count(Interest::User(user.clone())),
                    Audience::Channel(channel) => {
                        count(Interest::Channel(channel.clone())) + count(Interest::AllChannels)
                    }
                };
                Reach {
                    matched: connections,
                    queued: connections,
                    dropped: 0,
                }
            });
            reaches.collect()
        };
        self.delivered.lock().unwrap().extend(events);
        Box::pin(async move {
            tokio::task::yield_now().await;
            reaches
        })
    }

    fn received(&self, publications: u64) {
        self.received.fetch_add(publications, Ordering::SeqCst);
    }

    fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::SeqCst);
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.sick.load(Ordering::SeqCst) {
                Err(BrokerError::TimedOut)
            } else {
                Ok(())
            }
        })
    }

    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes> {
        let answer_mode = *self.answer_mode.lock().unwrap();
        Box::pin(async move {
            match answer_mode {
                AnswerMode::Normal => [self.name.as_bytes(), b":", &question].concat().into(),
                AnswerMode::Never => std::future::pending().await,
                AnswerMode::Panics => panic!("as the test wants it"),
                AnswerMode::Long(bytes) => vec![b'a'; bytes].into(),
            }
        })
    }

    fn on_notice(&self, notice: Bytes) {
        let notice = String::from_utf8(notice.to_vec()).unwrap();
        assert_ne!(notice, "panic", "as the test wants it");
        self.notices.lock().unwrap().push(notice);
    }

    fn entered(&self, _: EntryTicket, _: Entered) {}

    fn retention(&self, audience: &Audience) -> Option<Retention> {
        let forgets = matches!(audience, Audience::User(_)) && self.forgets_users.load(Ordering::SeqCst);
        (self.keeps.load(Ordering::SeqCst) && !forgets).then_some(Retention {
            size: 100,
            ttl: Duration::from_secs(600),
        })
    }

    fn keeps_history(&self) -> bool {
        self.keeps.load(Ordering::SeqCst)
    }

    fn on_gap(&self, gap: Gap) {
        self.gaps.lock().unwrap().push(gap);
    }

    fn announcement(&self, _: Presence, _: &Channel, _: &Member) -> Option<Event> {
        None
    }
}

pub(crate) fn interest(user: &str) -> Interest {
    Interest::User(UserId::new(user).unwrap())
}

pub(crate) fn to_user(user: &str, data: &str) -> Event {
    to(Audience::User(UserId::new(user).unwrap()), data)
}

pub(crate) fn channel(name: &str) -> Interest {
    Interest::Channel(Channel::new(name).unwrap())
}

pub(crate) fn to_channel(name: &str, data: &str) -> Event {
    to(Audience::Channel(Channel::new(name).unwrap()), data)
}

pub(crate) fn to(audience: Audience, data: &str) -> Event {
    Event::new(audience, Some("test"), raw(data), SystemTime::now())
}

pub(crate) fn raw(text: &str) -> RawJson {
    RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// Waits until `condition` holds, for at most a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(result.is_ok(), "not within 60 seconds: {what}");
}
