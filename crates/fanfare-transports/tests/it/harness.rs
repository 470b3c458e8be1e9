//! Nodes that hold no connections but remember what they should have delivered.

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

/// How long nodes hear all channels after they have let go of them; short, so that much happens in a test.
pub(crate) const LINGER: Duration = Duration::from_millis(10);

/// The publisher wants to know whom its events reach.
pub(crate) const RECEIPT: PublishOptions = PublishOptions { receipt: true };

/// What nodes are opened on.
pub(crate) enum Cluster {
    Memory,
    Redis(RedisServer),
    Nats(NatsServer),
    Sentinel(Shared<SentinelGroup>),
    Sharded(Shared<ClusterGroup>),
}

/// A group of servers that other tests use at the same time, each with a prefix of its own.
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

    /// The kind of broker, and how it is opened.
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

    /// A node that is ready.
    pub(crate) async fn node(&self, id: &str) -> Node {
        let (kind, options) = self.options();
        let node = Node::open_by(kind, &options, id);
        node.ready().await;
        node
    }

    /// Several nodes where the broker allows it, else one.
    pub(crate) async fn nodes(&self) -> Vec<Node> {
        if matches!(self, Self::Memory) {
            return vec![self.node("a").await];
        }
        let nodes = [self.node("a").await, self.node("b").await, self.node("c").await];
        know_each_other(&nodes).await;
        nodes.into()
    }
}

/// Waits until each of `nodes` waits for all others.
pub(crate) async fn know_each_other(nodes: &[Node]) {
    for node in nodes {
        eventually("the nodes know each other", async || {
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

/// A broker and what it delivered.
pub(crate) struct Node {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) inbound: Arc<Recorder>,
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

    /// A node on Redis that puts `prefix` before every name.
    pub(crate) fn open_prefixed(url: &str, prefix: &str) -> Self {
        let options = BrokerOptions {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            ..BrokerOptions::default()
        };
        Self::open_by(BrokerKind::Redis, &options, "")
    }

    /// A node with these options, called `id`.
    pub(crate) fn open_by(kind: BrokerKind, options: &BrokerOptions, id: &str) -> Self {
        let mut options = options.clone();
        id.clone_into(&mut options.node.node_id);
        let inbound = Recorder::named(id);
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

    /// Holds `connections` of `user` from now on.
    pub(crate) async fn hold(&self, user: &str, connections: u64) {
        self.hold_interest(interest(user), connections).await;
    }

    /// Holds `connections` that have this interest from now on.
    pub(crate) async fn hold_interest(&self, interest: Interest, connections: u64) {
        self.inbound
            .held
            .lock()
            .unwrap()
            .insert(interest.clone(), connections);
        self.broker.subscribe(interest).await;
    }

    /// Holds none with this interest any more.
    pub(crate) fn let_go(&self, interest: Interest) {
        self.inbound.held.lock().unwrap().remove(&interest);
        self.broker.unsubscribe(interest);
    }

    pub(crate) async fn publish_one(&self, event: Event) -> Receipt {
        let receipts = self.broker.publish(vec![event], RECEIPT).await;
        assert_eq!(receipts.len(), 1);
        receipts[0]
    }
}

/// Stands for a node's connections.
#[derive(Default)]
pub(crate) struct Recorder {
    held: Mutex<HashMap<Interest, u64>>,
    seen: Mutex<Vec<Event>>,
    received: AtomicU64,
    rejected: AtomicU64,
    pub(crate) sick: AtomicBool,
    name: String,
    /// How questions are answered.
    pub(crate) manner: Mutex<Manner>,
    told: Mutex<Vec<String>>,
    /// Every audience has history.
    pub(crate) keeps: AtomicBool,
    /// Users have none.
    pub(crate) forgets_users: AtomicBool,
    pub(crate) gaps: Mutex<Vec<Gap>>,
}

/// How a node answers questions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Manner {
    /// With its name, a colon, and the question.
    #[default]
    Well,
    Never,
    Panics,
    /// With so many bytes.
    Long(usize),
}

impl Recorder {
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

    /// What it was told, in order.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn answers(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What was delivered, in order.
    pub(crate) fn seen(&self) -> Vec<Event> {
        self.seen.lock().unwrap().clone()
    }

    /// The data of what was delivered, in order.
    pub(crate) fn data(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|event| event.data.as_str().to_owned())
            .collect()
    }

    /// Begins anew with what was delivered.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    pub(crate) fn rejections(&self) -> u64 {
        self.rejected.load(Ordering::SeqCst)
    }
}

impl Inbound for Recorder {
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
        self.seen.lock().unwrap().extend(events);
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
        let manner = *self.manner.lock().unwrap();
        Box::pin(async move {
            match manner {
                Manner::Well => [self.name.as_bytes(), b":", &question].concat().into(),
                Manner::Never => std::future::pending().await,
                Manner::Panics => panic!("as the test wants it"),
                Manner::Long(bytes) => vec![b'a'; bytes].into(),
            }
        })
    }

    fn on_notice(&self, notice: Bytes) {
        let notice = String::from_utf8(notice.to_vec()).unwrap();
        assert_ne!(notice, "panic", "as the test wants it");
        self.told.lock().unwrap().push(notice);
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

/// Waits, generously, until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(result.is_ok(), "not within 60 seconds: {what}");
}
