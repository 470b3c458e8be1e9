//! Nodes whose connections are in rooms, and record the changes that they are shown.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, Channel, Entered, Entry, EntryTicket, Event, Inbound, Interest,
    Member, Presence, Reach, Slot, SlotScope, UserId,
};
use fanfare_transports::{BrokerKind, BrokerOptions};

use crate::harness::{Cluster, eventually, raw};

/// A broker, and the connections of its node.
pub(crate) struct RoomNode {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) shown: Arc<Shown>,
    next_ticket: AtomicU64,
}

/// Stands for a node's connections, and records what they were shown, in order.
#[derive(Default)]
pub(crate) struct Shown {
    log: Mutex<Vec<Line>>,
    entered: Mutex<HashMap<u64, Entered>>,
}

/// A change or a list that connections were shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    Entered(u64),
    Joined(String, String),
    Left(String, String),
    Other(String),
}

pub(crate) fn room(name: &str) -> Channel {
    Channel::new(name).unwrap()
}

pub(crate) fn member(user: &str) -> Member {
    Member {
        user: UserId::new(user).unwrap(),
        username: Some(format!("{user}'s name").into()),
        numeric: false,
        dialect: "rooms".into(),
    }
}

pub(crate) fn slot(name: &str) -> Slot {
    Slot {
        scope: SlotScope::Name,
        dialect: "broadcast",
        name: name.into(),
    }
}

impl RoomNode {
    /// Returns a node on the Redis or NATS at `url`, which may be unavailable.
    pub(crate) fn open(url: &str, id: &str) -> Self {
        let options = BrokerOptions {
            url: url.to_owned(),
            ..BrokerOptions::default()
        };
        Self::open_by(options, id)
    }

    /// As [`Self::open`], with these options.
    pub(crate) fn open_by(options: BrokerOptions, id: &str) -> Self {
        let is_nats = options.url.starts_with("nats:");
        let kind = if is_nats {
            BrokerKind::Nats
        } else {
            BrokerKind::Redis
        };
        Self::open_kind(kind, options, id)
    }

    fn open_kind(kind: BrokerKind, mut options: BrokerOptions, id: &str) -> Self {
        let shown = Arc::<Shown>::default();
        id.clone_into(&mut options.node.node_id);
        let inbound: Arc<dyn Inbound> = shown.clone();
        let broker = fanfare_transports::open(kind, &options, inbound).unwrap();
        Self {
            broker,
            shown,
            next_ticket: AtomicU64::new(1),
        }
    }

    /// As [`Self::open`]. The node is subscribed to `rooms` and counts together with the others when this returns.
    pub(crate) async fn ready(url: &str, id: &str, rooms: &[&str]) -> Self {
        Self::open(url, id).counting(rooms).await
    }

    /// Subscribes to `rooms`, and waits until the node counts together with the others.
    pub(crate) async fn counting(self, rooms: &[&str]) -> Self {
        self.connected().await;
        self.listen(rooms).await;
        self
    }

    /// Returns three nodes that are subscribed to `rooms`, or one if the broker has only one.
    pub(crate) async fn on(cluster: &Cluster, rooms: &[&str]) -> Vec<Self> {
        Self::many(cluster, 3, rooms).await
    }

    /// As [`Self::on`], with `count` nodes.
    pub(crate) async fn many(cluster: &Cluster, count: usize, rooms: &[&str]) -> Vec<Self> {
        let (kind, options) = cluster.options();
        Self::many_by(kind, options, count, rooms).await
    }

    /// As [`Self::many`], on a broker of this kind with these options.
    pub(crate) async fn many_by(
        kind: BrokerKind,
        options: BrokerOptions,
        count: usize,
        rooms: &[&str],
    ) -> Vec<Self> {
        if kind == BrokerKind::Memory {
            let node = Self::open_kind(kind, options, "a");
            node.listen(rooms).await;
            return vec![node];
        }
        let nodes =
            (0..count).map(|at| Self::open_kind(kind, options.clone(), &format!("n{at}")).counting(rooms));
        futures_util::future::join_all(nodes).await
    }

    /// Waits until the node counts together with the others, and no longer by itself.
    pub(crate) async fn connected(&self) {
        let nonce = slot(&format!("ready-{}", rand::random::<u64>()));
        eventually("the node counts with the others", async || {
            if self.broker.probe().await.is_err() || self.broker.presence_counts().leases == 0 {
                return false;
            }
            // A node without the others grants every slot.
            self.broker.acquire_slot(nonce.clone(), 1).await;
            let granted = self.broker.acquire_slot(nonce.clone(), 1).await;
            self.broker.release_slot(nonce.clone());
            if granted {
                self.broker.release_slot(nonce.clone());
            }
            !granted
        })
        .await;
    }

    pub(crate) async fn listen(&self, rooms: &[&str]) {
        for name in rooms {
            self.broker.subscribe(Interest::Channel(room(name))).await;
        }
    }

    /// Enters a connection of `user`. Returns its ticket.
    pub(crate) fn enter(&self, name: &str, user: &str) -> u64 {
        let ticket = self.next_ticket.fetch_add(1, Ordering::SeqCst);
        self.broker.enter(Entry {
            room: room(name),
            member: member(user),
            ticket: EntryTicket(ticket),
            wants_members: true,
        });
        ticket
    }

    /// As [`Self::enter`], and waits for the result.
    pub(crate) async fn entered(&self, name: &str, user: &str) -> Entered {
        let ticket = self.enter(name, user);
        self.answer(ticket).await
    }

    /// Waits for the result of an entry.
    pub(crate) async fn answer(&self, ticket: u64) -> Entered {
        eventually("the connection has entered", async || {
            self.shown.entered.lock().unwrap().contains_key(&ticket)
        })
        .await;
        self.shown.entered.lock().unwrap()[&ticket].clone()
    }

    pub(crate) fn leave(&self, name: &str, user: &str) {
        self.broker.leave(room(name), UserId::new(user).unwrap());
    }

    /// Returns the changes that connections in room `name` were shown: `+alice -alice`.
    pub(crate) fn changes(&self, name: &str) -> String {
        let mut changes = String::new();
        for line in self.shown.log() {
            let (sign, user) = match line {
                Line::Joined(room, user) if room == name => ('+', user),
                Line::Left(room, user) if room == name => ('-', user),
                _ => continue,
            };
            let _ = write!(changes, "{sign}{user} ");
        }
        changes.trim_end().to_owned()
    }

    /// Waits until connections in room `name` were shown exactly these changes.
    pub(crate) async fn shows(&self, name: &str, expected: &str) {
        let wait = async {
            while self.changes(name) != expected {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let result = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
        assert!(result.is_ok(), "{:?} is not {expected:?}", self.changes(name));
    }
}

/// Returns the users in a list of members, in order.
pub(crate) fn users(entered: &Entered) -> Vec<String> {
    let members = entered.members.iter().flatten();
    let mut users: Vec<String> = members.map(|member| member.user.to_string()).collect();
    users.sort();
    users
}

/// Checks that no user joined or left twice in a row.
pub(crate) fn alternate(changes: &str) {
    let mut present = HashMap::new();
    for change in changes.split_whitespace() {
        let (sign, user) = change.split_at(1);
        let before = present.insert(user, sign == "+");
        assert_ne!(before, Some(sign == "+"), "{user} in {changes}");
    }
}

impl Shown {
    pub(crate) fn log(&self) -> Vec<Line> {
        self.log.lock().unwrap().clone()
    }
}

impl Inbound for Shown {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>> {
        let count = events.len();
        let mut log = self.log.lock().unwrap();
        for event in events {
            let Audience::Channel(room) = &event.audience else {
                log.push(Line::Other(event.data.as_str().to_owned()));
                continue;
            };
            let user = || serde_json::from_str::<String>(event.data.as_str()).unwrap();
            log.push(match event.kind.as_deref() {
                Some("user_joined") => Line::Joined(room.to_string(), user()),
                Some("user_left") => Line::Left(room.to_string(), user()),
                _ => Line::Other(event.data.as_str().to_owned()),
            });
        }
        Box::pin(std::future::ready(vec![Reach::default(); count]))
    }

    fn received(&self, _publications: u64) {}

    fn rejected(&self) {}

    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes> {
        Box::pin(std::future::ready(question))
    }

    fn on_notice(&self, _notice: Bytes) {}

    fn entered(&self, ticket: EntryTicket, entered: Entered) {
        self.log.lock().unwrap().push(Line::Entered(ticket.0));
        self.entered.lock().unwrap().insert(ticket.0, entered);
    }

    fn announcement(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event> {
        let kind = match change {
            Presence::Joined => "user_joined",
            Presence::Left => "user_left",
        };
        let user = serde_json::to_string(&*member.user).unwrap();
        let audience = Audience::Channel(room.clone());
        Some(Event::new(audience, Some(kind), raw(&user), SystemTime::now()))
    }
}

/// Returns whether the broker is unavailable to the node.
pub(crate) async fn is_away(node: &RoomNode) -> bool {
    let health = node.broker.health().await;
    matches!(health, fanfare_core::BrokerHealth::Disconnected { .. })
}

/// As [`eventually`], with a limit in seconds.
pub(crate) async fn within(seconds: u64, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let result = tokio::time::timeout(std::time::Duration::from_secs(seconds), wait).await;
    assert!(result.is_ok(), "not within {seconds} seconds: {what}");
}
