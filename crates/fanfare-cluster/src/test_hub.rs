//! Nodes on a [`Hub`] for tests, which store the delivered events and can be frozen.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Entered, EntryTicket, Event, Gap,
    Inbound, Interest, Member, Presence, PublishOptions, RawJson, Reach, Receipt, UserId,
    history::{History, Retention},
};
use tokio::sync::watch;

pub(crate) use crate::hub::Hub;
use crate::{ClusterBroker, transport::PresenceStore};

/// The retention of every audience.
pub(crate) const KEEP: Retention = Retention {
    size: 100,
    ttl: Duration::from_secs(600),
};

impl Hub {
    /// Starts a node and waits until it is connected.
    pub(crate) async fn node(&self, name: &str) -> TestNode {
        self.node_with(name, None).await
    }

    /// Like [`Self::node`], with a store of presence.
    pub(crate) async fn node_with(&self, name: &str, store: Option<Arc<dyn PresenceStore>>) -> TestNode {
        let (frozen, is_frozen) = watch::channel(false);
        let inbound = Arc::new(FakeConnections {
            name: name.to_owned(),
            ..FakeConnections::default()
        });
        let broker = self.broker_with(name, inbound.clone(), (is_frozen, store));
        let node = TestNode {
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

    /// Starts nodes, and waits until each of them knows the others.
    pub(crate) async fn nodes<const COUNT: usize>(&self, names: [&str; COUNT]) -> [TestNode; COUNT] {
        let nodes = futures_util::future::join_all(names.map(|name| self.node(name))).await;
        for node in &nodes {
            eventually("all nodes answer", async || node.ask("q").await.len() == COUNT).await;
        }
        nodes.try_into().unwrap_or_else(|_| unreachable!())
    }
}

/// A node's broker, and its fake connections.
pub(crate) struct TestNode {
    pub(crate) broker: ClusterBroker,
    pub(crate) inbound: Arc<FakeConnections>,
    frozen: watch::Sender<bool>,
}

impl TestNode {
    /// Sets whether the node neither receives nor publishes.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(crate) async fn hold(&self, user: &str) {
        self.hold_interest(Interest::User(UserId::new(user).unwrap()))
            .await;
    }

    pub(crate) async fn hold_interest(&self, interest: Interest) {
        self.inbound.held.lock().unwrap().insert(interest.clone());
        self.broker.subscribe(interest).await;
    }

    pub(crate) async fn ask(&self, question: &'static str) -> Vec<Bytes> {
        self.broker.ask(Bytes::from(question)).await.answers
    }

    pub(crate) async fn publish(&self, event: Event) -> Receipt {
        let options = PublishOptions { receipt: true };
        self.broker.publish(vec![event], options).await[0]
    }

    pub(crate) async fn publish_without_receipt(&self, event: Event) -> Receipt {
        let options = PublishOptions { receipt: false };
        self.broker.publish(vec![event], options).await[0]
    }
}

pub(crate) fn to_user(user: &str, data: &str) -> Event {
    to(Audience::User(UserId::new(user).unwrap()), data)
}

pub(crate) fn to(audience: Audience, data: &str) -> Event {
    let data = RawJson::parse(&Bytes::copy_from_slice(data.as_bytes())).unwrap();
    Event::new(audience, Some("test"), data, SystemTime::now())
}

/// Waits until `condition` holds; panics after a long time.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(result.is_ok(), "not within 30 seconds: {what}");
}

/// The connections of a node: one for each interest.
#[derive(Default)]
pub(crate) struct FakeConnections {
    name: String,
    held: Mutex<HashSet<Interest>>,
    seen: Mutex<Vec<String>>,
    notices: Mutex<Vec<Bytes>>,
    /// Whether every audience has history.
    pub(crate) keeps: AtomicBool,
    gaps: Mutex<Vec<Gap>>,
    /// The numbers of the delivered events.
    numbers: Mutex<Vec<u64>>,
}

impl FakeConnections {
    /// Returns the data of the events that connections with cursors received, in order.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the numbers of the delivered events that have a place, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.numbers.lock().unwrap().clone()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.gaps.lock().unwrap().clone()
    }

    pub(crate) fn notices(&self) -> Vec<Bytes> {
        self.notices.lock().unwrap().clone()
    }
}

impl Inbound for FakeConnections {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>> {
        let held = self.held.lock().unwrap();
        let reach = |event: &Event| {
            let count = match &event.audience {
                Audience::Everyone => held.len() as u64,
                Audience::User(user) => u64::from(held.contains(&Interest::User(user.clone()))),
                Audience::Channel(channel) => {
                    let by_name = held.contains(&Interest::Channel(channel.clone()));
                    u64::from(by_name) + u64::from(held.contains(&Interest::AllChannels))
                }
            };
            Reach {
                matched: count,
                queued: count,
                dropped: 0,
            }
        };
        let reaches = events.iter().map(reach).collect();
        let numbers = events.iter().filter_map(|event| event.history.position());
        let numbers = numbers.map(|position| position.number);
        self.numbers.lock().unwrap().extend(numbers);
        let is_for_all = |event: &&Event| !matches!(event.history, History::Late(_));
        let data = events
            .iter()
            .filter(is_for_all)
            .map(|event| event.data.as_str().to_owned());
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

    fn retention(&self, _: &Audience) -> Option<Retention> {
        self.keeps.load(Relaxed).then_some(KEEP)
    }

    fn keeps_history(&self) -> bool {
        self.keeps.load(Relaxed)
    }

    fn on_gap(&self, gap: Gap) {
        self.gaps.lock().unwrap().push(gap);
    }

    fn announcement(&self, _: Presence, _: &Channel, _: &Member) -> Option<Event> {
        None
    }
}
