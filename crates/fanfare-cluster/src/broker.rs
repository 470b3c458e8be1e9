//! The broker over a transport, and what its tasks share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{
    Asked, BoxFuture, Broker, BrokerError, BrokerFigures, BrokerHealth, Channel, Claim, Entry, Event,
    Histogram, Inbound, Interest, MAX_MESSAGE_BYTES, PresenceCounts, Present, PublishOptions, Receipt,
    RememberedIds, Slot, UserId,
    journal::{Replay, ReplayQuery},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use crate::{
    ANSWER_TIMEOUT,
    answers::{self, Answers},
    deliveries::{self, Deliveries, Item},
    foreign::{self, Foreign},
    id_memory::IdMemory,
    ids,
    link::{self, Link},
    local,
    messages::{NodeMessage, Report},
    notices::{self, Notices},
    peers::{self, Peers},
    presence::{self, Presence},
    publisher::{self, Job, Note},
    questions,
    receipts::{self, Receipts},
    receiver, replays,
    requests::{Numbers, Requests},
    status::Status,
    transport::{PublishError, Subject, Transport, presence::LEASE_LIFETIME},
};

/// What a node in a cluster needs to know.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// This node's name: short, and no other node's. If it is empty, a name is made up.
    pub node_id: String,
    /// How long a node stays subscribed to all channels after it has released [`Interest::AllChannels`]: longer than most
    /// clients take to come back.
    pub linger: Duration,
    /// How many ids the node's own memory holds.
    pub max_remembered_ids: usize,
    /// How many members a room may have for their list to be sent.
    pub max_listed_members: usize,
}

/// A broker for many nodes.
pub struct ClusterBroker {
    shared: Arc<Shared>,
    /// Without a bound: every caller waits for its receipts before it publishes on.
    jobs: mpsc::UnboundedSender<Job>,
    /// Where work goes on that its caller need not wait for.
    runtime: Handle,
    /// Aborts the tasks when the broker is dropped.
    _tasks: JoinSet<()>,
}

/// A number on its way through the transport and back.
struct Probe {
    back: oneshot::Sender<()>,
    /// It goes through the delivery queue, too.
    through_queue: bool,
}

/// What the broker's tasks share.
pub(crate) struct Shared {
    pub(crate) node_id: Box<str>,
    pub(crate) linger: Duration,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) inbound: Arc<dyn Inbound>,
    pub(crate) link: Link,
    pub(crate) receipts: Receipts,
    pub(crate) deliveries: Deliveries,
    pub(crate) foreign: Foreign,
    pub(crate) status: Status,
    notes: mpsc::UnboundedSender<Note>,
    probes: Mutex<AHashMap<u64, Probe>>,
    pub(crate) round_trips: Histogram,
    pub(crate) numbers: Numbers,
    pub(crate) requests: Requests,
    pub(crate) answers: Answers,
    pub(crate) notices: Notices,
    pub(crate) peers: Peers,
    pub(crate) ids: IdMemory,
    pub(crate) presence: Presence,
}

impl ClusterBroker {
    /// A broker for the node behind `inbound`. It connects in the background. Call it inside a runtime, which then drives
    /// the broker's tasks until the broker is dropped.
    pub fn new(transport: Arc<dyn Transport>, options: ClusterOptions, inbound: Arc<dyn Inbound>) -> Self {
        let node_id = if options.node_id.is_empty() {
            Uuid::new_v4().to_string().into()
        } else {
            options.node_id.into_boxed_str()
        };
        let (deliveries, queue) = Deliveries::new();
        let (commands, subscriptions) = mpsc::unbounded_channel();
        let (notes, outgoing) = mpsc::unbounded_channel();
        let (jobs, queued_jobs) = mpsc::unbounded_channel();
        let (answers, questions) = Answers::new();
        let (foreign, waiting) = Foreign::new(deliveries.clone());
        let shared = Arc::new(Shared {
            status: Status::new(Arc::clone(&transport)),
            notices: Notices::new(&node_id),
            node_id,
            linger: options.linger,
            presence: Presence::new(deliveries.clone(), options.max_listed_members),
            transport,
            inbound,
            link: Link::default(),
            receipts: Receipts::new(deliveries.clone(), commands),
            deliveries,
            foreign,
            notes,
            probes: Mutex::default(),
            round_trips: Histogram::default(),
            numbers: Numbers::default(),
            requests: Requests::default(),
            peers: Peers::default(),
            answers,
            ids: IdMemory::new(options.max_remembered_ids),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(link::run(Arc::clone(&shared)));
        tasks.spawn(receiver::run(Arc::clone(&shared), subscriptions));
        tasks.spawn(deliveries::run(Arc::clone(&shared), queue));
        tasks.spawn(foreign::run(Arc::clone(&shared), waiting));
        tasks.spawn(publisher::run(Arc::clone(&shared), queued_jobs, outgoing));
        tasks.spawn(receipts::sweep(Arc::clone(&shared)));
        tasks.spawn(answers::run(Arc::clone(&shared), questions));
        tasks.spawn(notices::run(Arc::clone(&shared)));
        tasks.spawn(peers::run(Arc::clone(&shared)));
        tasks.spawn(presence::run(Arc::clone(&shared)));
        Self {
            shared,
            jobs,
            runtime: Handle::current(),
            _tasks: tasks,
        }
    }
}

impl Broker for ClusterBroker {
    fn publish(&self, events: Vec<Event>, options: PublishOptions) -> BoxFuture<'static, Vec<Receipt>> {
        let count = events.len();
        if count == 0 {
            return Box::pin(std::future::ready(Vec::new()));
        }
        let (done, receipts) = oneshot::channel();
        // Fails only while the runtime shuts down, when no connection is left to deliver to.
        let _ = self.jobs.send(Job {
            events,
            options,
            done,
        });
        Box::pin(async move {
            receipts.await.unwrap_or_else(|_| {
                let unknown = Receipt {
                    degraded: true,
                    ..Receipt::default()
                };
                vec![unknown; count]
            })
        })
    }

    fn subscribe(&self, interest: Interest) -> BoxFuture<'static, ()> {
        let in_force = self.shared.receipts.subscribe(interest);
        Box::pin(async move {
            if let Some(in_force) = in_force {
                // An error means that the connection was lost meanwhile.
                let _ = in_force.await;
            }
        })
    }

    fn unsubscribe(&self, interest: Interest) {
        self.shared.receipts.unsubscribe(interest);
    }

    fn health(&self) -> BoxFuture<'_, BrokerHealth> {
        Box::pin(async move {
            let start = Instant::now();
            match self.shared.round_trip(false).await {
                Ok(()) => BrokerHealth::Connected {
                    round_trip: start.elapsed(),
                },
                Err(BrokerError::Away) => BrokerHealth::Disconnected {
                    error: self.shared.status.error(),
                },
                Err(error) => BrokerHealth::Disconnected {
                    error: error.to_string(),
                },
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>> {
        Box::pin(async move {
            let start = Instant::now();
            self.shared.round_trip(true).await?;
            self.shared.inbound.probe().await?;
            Ok(start.elapsed())
        })
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'_, Asked> {
        Box::pin(questions::ask(&self.shared, question))
    }

    fn broadcast(&self, notice: Bytes) {
        local::notify(&*self.shared.inbound, notice.clone());
        let dropped = if notice.len() > MAX_MESSAGE_BYTES {
            1
        } else {
            self.shared.notices.publish(notice)
        };
        if dropped > 0 {
            self.shared.status.notices_dropped(dropped);
        }
    }

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        Box::pin(async move {
            let (done, claims) = oneshot::channel();
            // In a task of its own, so that ids are released if the caller stops waiting.
            let claim = ids::claim(Arc::clone(&self.shared), ids.clone(), done);
            drop(self.runtime.spawn(claim));
            // Fails only while the runtime shuts down.
            let alone = |_| ids.into_iter().map(|id| self.shared.ids.claim(id)).collect();
            claims.await.unwrap_or_else(alone)
        })
    }

    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()> {
        for (id, receipt) in &receipts {
            self.shared.ids.record(*id, receipt);
        }
        let shared = Arc::clone(&self.shared);
        self.go_on(async move { ids::settle(&shared, &receipts).await })
    }

    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        self.go_on(async move { ids::release(&shared, ids).await })
    }

    fn remembered_ids(&self) -> RememberedIds {
        self.shared.ids.count()
    }

    fn replay(&self, query: ReplayQuery) -> BoxFuture<'static, Replay> {
        Box::pin(replays::replay(self.shared.link.current(), query))
    }

    fn enter(&self, entry: Entry) {
        self.shared.presence.enter(&entry);
    }

    fn leave(&self, room: Channel, user: UserId) {
        self.shared.presence.leave(&room, &user);
    }

    fn present(&self, room: &Channel) -> Vec<Present> {
        self.shared.presence.present(room)
    }

    fn rooms(&self) -> usize {
        self.shared.presence.rooms()
    }

    fn presence_counts(&self) -> PresenceCounts {
        self.shared.presence.counts()
    }

    fn acquire_slot(&self, slot: Slot, most: usize) -> BoxFuture<'static, bool> {
        self.shared.presence.acquire(&slot, most)
    }

    fn release_slot(&self, slot: Slot) {
        self.shared.presence.release(&slot);
    }

    fn round_trips(&self) -> Option<&Histogram> {
        Some(&self.shared.round_trips)
    }

    fn figures(&self) -> BrokerFigures {
        let Shared {
            receipts,
            status,
            peers,
            ..
        } = &*self.shared;
        BrokerFigures {
            degraded: receipts.degraded(),
            ignored: status.ignored(),
            peers: peers.counts(),
            reconnects: status.reconnects(),
            notices_dropped: status.dropped(),
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        let released = self.shared.presence.close();
        Box::pin(async move {
            let ended = tokio::time::timeout(ANSWER_TIMEOUT, peers::end(&shared));
            // What is not released until then, the other nodes clean up.
            let released = tokio::time::timeout(LEASE_LIFETIME, released);
            let _ = tokio::join!(released, ended);
        })
    }
}

impl ClusterBroker {
    /// What this node knows of presence.
    #[cfg(test)]
    pub(crate) fn presence(&self) -> &Presence {
        &self.shared.presence
    }

    /// Begins `work`, which goes on whether or not the caller waits for its end.
    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, ()> {
        let work = self.runtime.spawn(work);
        Box::pin(async move {
            // An error means that the runtime shuts down.
            let _ = work.await;
        })
    }
}

impl Shared {
    /// Publishes a number on this node's own subject and waits until it has arrived, and if wanted until the delivery
    /// queue has passed it.
    pub(crate) async fn round_trip(&self, through_queue: bool) -> Result<(), BrokerError> {
        if self.link.current().is_none() || !self.receipts.is_receiving() {
            return Err(BrokerError::Away);
        }
        let nonce = rand::random::<u64>();
        let (back, arrived) = oneshot::channel();
        self.probes().insert(nonce, Probe { back, through_queue });
        let work = async {
            let message = NodeMessage::Probe(nonce).to(self.own_subject(), None);
            match self.link.publish(&[message]).await.pop() {
                Some(Err(PublishError::Refused(error))) => Err(BrokerError::Refused(error)),
                Some(Ok(_)) => arrived.await.map_err(|_| BrokerError::TimedOut),
                Some(Err(PublishError::Lost)) | None => Err(BrokerError::TimedOut),
            }
        };
        let result = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        self.probes().remove(&nonce);
        result.unwrap_or(Err(BrokerError::TimedOut))
    }

    /// A probe arrived.
    pub(crate) fn probe_arrived(&self, nonce: u64) {
        let through_queue = |probe: &Probe| probe.through_queue;
        if self.probes().get(&nonce).is_some_and(through_queue) {
            self.deliveries.push(Item::Probe(nonce));
        } else {
            self.probe_passed(nonce);
        }
    }

    /// A probe has passed all that it should.
    pub(crate) fn probe_passed(&self, nonce: u64) {
        if let Some(probe) = self.probes().remove(&nonce) {
            let _ = probe.back.send(());
        }
    }

    fn probes(&self) -> MutexGuard<'_, AHashMap<u64, Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subject of messages to this node alone.
    pub(crate) fn own_subject(&self) -> Subject {
        Subject::Node(self.node_id.clone())
    }

    /// Sends `message` to the node called `node`; it is lost if the transport is away.
    pub(crate) fn send_to(&self, node: &str, message: NodeMessage) {
        self.note(Note::Message(Subject::Node(node.into()), message));
    }

    /// Reports to all nodes, or to one, whether this node receives.
    pub(crate) fn report(&self, to: Subject, receives: bool, reply: bool) {
        if self.peers.ends() {
            return;
        }
        let (run, notices) = self.notices.sent();
        let message = NodeMessage::Report(Report {
            node: self.node_id.clone(),
            run,
            receives,
            notices,
            reply,
        });
        self.note(Note::Message(to, message));
    }

    /// Publishes `note` behind all that was published before.
    pub(crate) fn note(&self, note: Note) {
        // Fails only while the runtime shuts down.
        let _ = self.notes.send(note);
    }
}

#[cfg(test)]
mod tests;
