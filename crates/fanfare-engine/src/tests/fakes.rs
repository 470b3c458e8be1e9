//! An authenticator that accepts every token, an authorizer and a broker that answer when a test allows it. The broker delivers
//! only events that the node has requested.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fanfare_cluster::{embedded::EmbeddedBroker, journal::MemoryJournal};
use fanfare_core::{
    Audience, BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Claim, Denial, Entry, Event, Identity,
    Inbound, Interest, MAX_CLAIMS, MAX_LISTED_MEMBERS, NodeAnswers, Pattern, Present, PublishOptions, Reach,
    Receipt, Slot, SlotScope, UserId,
    journal::{Replay, ReplayQuery},
    policy::{Action, Authorizer, AuthorizerAnswer, Question},
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::Authenticator;

/// A gate that a test can close, so that its callers wait.
#[derive(Clone)]
pub(super) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(super) fn new(open: bool) -> Self {
        Self(Arc::new(watch::Sender::new(open)))
    }

    pub(super) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn shut(&self) {
        self.0.send_replace(false);
    }

    /// Waits until the gate is open.
    fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.0.subscribe();
        async move {
            let _ = state.wait_for(|open| *open).await; // fails when the test is over
        }
    }

    fn is_open(&self) -> bool {
        *self.0.borrow()
    }
}

/// Accepts every token: a JSON object with `sub`, `exp` in milliseconds since 1970, and optionally `session`, `roles` and `rooms`.
#[derive(Default)]
pub(super) struct FakeAuthenticator {
    revoked: Mutex<Vec<Box<str>>>,
}

impl Authenticator for FakeAuthenticator {
    fn identify<'a>(
        &'a self,
        _dialect: &'static str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Identity>, Denial>> {
        Box::pin(std::future::ready(identity(token)))
    }

    fn is_revoked(&self, identity: &Identity) -> bool {
        let revoked = self.revoked.lock().unwrap();
        identity.session.as_ref().is_some_and(|own| revoked.contains(own))
    }

    fn revoke_session(&self, session: &str) {
        self.revoked.lock().unwrap().push(session.into());
    }
}

fn identity(token: &str) -> Result<Arc<Identity>, Denial> {
    let claims: Value = serde_json::from_str(token).map_err(|_| Denial::BadCredential)?;
    let texts = |name: &str| {
        let list = claims[name].as_array();
        list.map(|list| list.iter().filter_map(Value::as_str))
    };
    let user = UserId::new(claims["sub"].as_str().unwrap()).unwrap();
    let expires_at = UNIX_EPOCH + Duration::from_millis(claims["exp"].as_u64().unwrap());
    if expires_at <= SystemTime::now() {
        return Err(Denial::ExpiredCredential);
    }
    Ok(Arc::new(Identity {
        session: claims["session"].as_str().map(Into::into),
        roles: texts("roles").into_iter().flatten().map(Into::into).collect(),
        rooms: texts("rooms").map(|rooms| rooms.map(|room| Pattern::new(room).unwrap()).collect()),
        ..Identity::new(user, expires_at)
    }))
}

/// Allows every user the channels without `secret` in their names, and records the questions.
pub(super) struct FakeAuthorizer {
    pub(super) gate: Gate,
    known: Arc<Mutex<HashMap<Question, AuthorizerAnswer>>>,
    asked: Mutex<Vec<String>>,
}

impl FakeAuthorizer {
    pub(super) fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(open),
            known: Arc::default(),
            asked: Mutex::default(),
        })
    }

    /// The channels it was asked about, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Stores that `user` may subscribe to `channel`, as if it had just answered another question.
    pub(super) fn learn(&self, user: &str, channel: &str) {
        let question = Question {
            user: UserId::new(user).ok(),
            action: Action::Subscribe,
            channel: Channel::new(channel).unwrap(),
        };
        self.known
            .lock()
            .unwrap()
            .insert(question, AuthorizerAnswer::Allowed);
    }

    pub(super) fn forget(&self) {
        self.known.lock().unwrap().clear();
    }
}

impl Authorizer for FakeAuthorizer {
    fn remembered(&self, question: &Question) -> Option<AuthorizerAnswer> {
        self.known.lock().unwrap().get(question).copied()
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, AuthorizerAnswer> {
        let answer = if question.channel.contains("secret") {
            AuthorizerAnswer::Denied
        } else {
            AuthorizerAnswer::Allowed
        };
        self.asked.lock().unwrap().push(question.channel.to_string());
        let (passed, known) = (self.gate.pass(), self.known.clone());
        Box::pin(async move {
            passed.await;
            known.lock().unwrap().insert(question, answer);
            answer
        })
    }
}

/// The calls that the broker handles one after the other.
enum Job {
    /// Events that were published together, and the sender of their receipts.
    Publish(Vec<Event>, oneshot::Sender<Vec<Receipt>>),
    Enter(Entry),
    Leave(Channel, UserId),
}

/// A broker that delivers only events whose interest was requested and confirmed.
pub(super) struct FakeBroker {
    inbound: Arc<dyn Inbound>,
    pub(super) confirms: Gate,
    /// Whether confirmed interests are in force; if not, they are requested again.
    pub(super) renewed: Gate,
    pub(super) carries: Gate,
    line: mpsc::UnboundedSender<Job>,
    /// The members of each room.
    pub(super) rooms: EmbeddedBroker,
    pub(super) grants: Gate,
    /// The slots that are taken in the cluster.
    slots: Arc<Mutex<HashMap<Slot, usize>>>,
    /// The requested interests, and whether each is in force.
    interests: Mutex<HashMap<Interest, bool>>,
    /// The kept events.
    pub(super) journal: MemoryJournal,
    /// Whether the journal can be read.
    pub(super) reads: Gate,
    /// The audiences of published events, and whether each had a receipt.
    pub(super) published: Mutex<Vec<(Audience, bool)>>,
    /// The number of events of each call.
    pub(super) calls: Mutex<Vec<usize>>,
}

impl FakeBroker {
    /// A broker for the node behind `inbound`. Call it where tasks of this thread can be spawned.
    pub(super) fn new(inbound: Arc<dyn Inbound>) -> Arc<Self> {
        let (line, mut jobs) = mpsc::unbounded_channel();
        let started = tokio::time::Instant::now();
        let elapsed = move || u64::try_from(started.elapsed().as_millis()).unwrap();
        let broker = Arc::new(Self {
            rooms: EmbeddedBroker::new(inbound.clone(), MAX_CLAIMS, MAX_LISTED_MEMBERS),
            inbound,
            grants: Gate::new(true),
            slots: Arc::default(),
            confirms: Gate::new(true),
            renewed: Gate::new(true),
            carries: Gate::new(true),
            line,
            interests: Mutex::default(),
            journal: MemoryJournal::with_clock(1 << 20, Arc::new(elapsed)),
            reads: Gate::new(true),
            published: Mutex::default(),
            calls: Mutex::default(),
        });
        let carrier = Arc::clone(&broker);
        tokio::task::spawn_local(async move {
            while let Some(job) = jobs.recv().await {
                carrier.carries.pass().await;
                match job {
                    // The caller may have been dropped.
                    Job::Publish(events, tell) => _ = tell.send(carrier.carry(events).await),
                    Job::Enter(entry) => carrier.rooms.enter(entry),
                    Job::Leave(room, user) => carrier.rooms.leave(room, user),
                }
            }
        });
        broker
    }

    /// Confirms all requests from now on.
    pub(super) fn confirm(&self) {
        self.interests
            .lock()
            .unwrap()
            .values_mut()
            .for_each(|in_force| *in_force = true);
        self.confirms.open();
    }

    /// The places that are taken, by the name they have.
    pub(super) fn slots(&self) -> HashMap<Box<str>, usize> {
        let slots = self.slots.lock().unwrap();
        slots
            .iter()
            .map(|(slot, count)| (slot.name.clone(), *count))
            .collect()
    }

    /// Another node takes a place.
    pub(super) fn occupy(&self, scope: SlotScope, name: &str) -> Slot {
        let slot = Slot {
            scope,
            dialect: "plain",
            name: name.into(),
        };
        *self.slots.lock().unwrap().entry(slot.clone()).or_default() += 1;
        slot
    }

    pub(super) fn interests(&self) -> Vec<Interest> {
        self.interests.lock().unwrap().keys().cloned().collect()
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let interests = self.interests.lock().unwrap();
        let in_force = |interest| interests.get(&interest).copied().unwrap_or_default();
        match &event.audience {
            Audience::Everyone => true,
            Audience::User(user) => in_force(Interest::User(user.clone())),
            Audience::Channel(channel) => {
                in_force(Interest::AllChannels) || in_force(Interest::Channel(channel.clone()))
            }
        }
    }

    async fn carry(&self, events: Vec<Event>) -> Vec<Receipt> {
        let wanted: Vec<bool> = events.iter().map(|event| self.is_wanted(event)).collect();
        let delivering = self.journal.append(events, |events| {
            let picked = events.into_iter().zip(&wanted).filter(|(_, wanted)| **wanted);
            self.inbound.deliver(picked.map(|(event, _)| event).collect())
        });
        let mut reaches = delivering.await.into_iter();
        let reach = |wanted: &bool| {
            if *wanted {
                reaches.next()
            } else {
                Some(Reach::default())
            }
        };
        let reaches: Vec<Reach> = wanted.iter().filter_map(reach).collect();
        let receipt = |reach| Receipt {
            reach,
            nodes: 1,
            ..Receipt::default()
        };
        reaches.into_iter().map(receipt).collect()
    }
}

impl Broker for FakeBroker {
    fn publish(&self, events: Vec<Event>, options: PublishOptions) -> BoxFuture<'static, Vec<Receipt>> {
        let published = events
            .iter()
            .map(|event| (event.audience.clone(), options.receipt));
        self.published.lock().unwrap().extend(published);
        self.calls.lock().unwrap().push(events.len());
        let (tell, told) = oneshot::channel();
        self.line.send(Job::Publish(events, tell)).unwrap();
        Box::pin(async move {
            let receipts: Vec<Receipt> = told.await.unwrap_or_default();
            if options.receipt {
                receipts
            } else {
                vec![Receipt::default(); receipts.len()]
            }
        })
    }

    fn subscribe(&self, interest: Interest) -> BoxFuture<'static, ()> {
        let again = self
            .interests
            .lock()
            .unwrap()
            .insert(interest, self.confirms.is_open());
        assert!(again.is_none(), "the node asks once for what it holds");
        Box::pin(self.confirms.pass())
    }

    fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        let renewed = Box::pin(self.renewed.pass());
        (!self.renewed.is_open()).then_some(renewed)
    }

    fn unsubscribe(&self, interest: Interest) {
        let held = self.interests.lock().unwrap().remove(&interest);
        assert!(held.is_some(), "the node gives back what it asked for");
    }

    fn health(&self) -> BoxFuture<'_, BrokerHealth> {
        Box::pin(std::future::ready(BrokerHealth::Embedded))
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>> {
        Box::pin(std::future::ready(Err(BrokerError::Away)))
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'_, NodeAnswers> {
        Box::pin(async move {
            NodeAnswers {
                answers: vec![self.inbound.answer(question).await],
                complete: true,
            }
        })
    }

    fn broadcast(&self, notice: Bytes) {
        self.inbound.on_notice(notice);
    }

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        Box::pin(std::future::ready(vec![Claim::New; ids.len()]))
    }

    fn record(&self, _receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn release(&self, _ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn replay(&self, query: ReplayQuery) -> BoxFuture<'static, Replay> {
        // Read now and answered when the test allows it.
        let (replay, pass) = (self.journal.read(&query), self.reads.pass());
        Box::pin(async move {
            pass.await;
            replay
        })
    }

    fn enter(&self, entry: Entry) {
        self.line.send(Job::Enter(entry)).unwrap();
    }

    fn leave(&self, room: Channel, user: UserId) {
        self.line.send(Job::Leave(room, user)).unwrap();
    }

    fn present(&self, room: &Channel) -> Vec<Present> {
        self.rooms.present(room)
    }

    fn rooms(&self) -> usize {
        self.rooms.rooms()
    }

    fn acquire_slot(&self, slot: Slot, most: usize) -> BoxFuture<'static, bool> {
        let (granted, slots) = (self.grants.pass(), self.slots.clone());
        Box::pin(async move {
            granted.await;
            let mut slots = slots.lock().unwrap();
            let taken = slots.get(&slot).copied().unwrap_or_default();
            if taken < most {
                slots.insert(slot, taken + 1);
            }
            taken < most
        })
    }

    fn release_slot(&self, slot: Slot) {
        let mut slots = self.slots.lock().unwrap();
        let taken = slots.get_mut(&slot).expect("only what was taken is released");
        *taken -= 1;
        if *taken == 0 {
            slots.remove(&slot);
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
