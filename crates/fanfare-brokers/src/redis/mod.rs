//! Many nodes, one Redis: events travel by `PUBLISH`, each node hears of the users and channels it holds.
//!
//! Two connections: one publishes (`link`, `publisher`), one listens (`subscriber`), for which `subscriptions` asks
//! Redis for users and channels one by one, or, on a node that holds patterns, for all channels at once. What this node publishes
//! reaches its own connections by Redis' echo, so that there is one source of order for all nodes. Only where the
//! echo cannot come or does not come is an event handed over directly; the `ledger` keeps book of that, so that
//! nothing is lost without a word and nothing arrives twice. All that is for this node passes one queue
//! (`delivery`); before it, what others publish waits for word on the ids they chose (`outside`).
//!
//! Besides events, nodes put questions to each other (`asking`, `answering`), tell each other notices that nobody may
//! miss (`tellings`), and share which ids are taken (`ids`).

mod address;
mod answering;
mod asking;
mod backoff;
mod control;
mod delivery;
mod held;
mod ids;
mod ledger;
mod link;
mod outside;
mod publisher;
mod recent;
mod source;
mod status;
mod subscriber;
mod subscriptions;
mod tellings;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{
    Asked, BoxFuture, Broker, BrokerError, BrokerHealth, Claim, Event, Inbound, Interest, MAX_MESSAGE_BYTES,
    Receipt, RememberedIds,
};
use redis::{Pipeline, Value};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use address::Address;
use answering::Asks;
use asking::Questions;
use control::Control;
use delivery::{Deliveries, Item};
use ledger::Ledger;
use link::PublishLink;
use outside::Outside;
use publisher::{Job, Notice};
use status::Status;
use tellings::Tellings;

use crate::{BrokerOptions, OpenError, node, remembered::Remembered};

/// How long Redis may take to answer anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A broker on a Redis server.
pub struct RedisBroker {
    shared: Arc<Shared>,
    /// Without a bound: every caller waits for its receipts before it publishes on.
    jobs: mpsc::UnboundedSender<Job>,
    /// Where work goes on that its caller need not wait for.
    runtime: Handle,
    /// Aborts the tasks when the broker is dropped.
    _tasks: JoinSet<()>,
}

/// A number on its way through Redis and back.
struct Probe {
    back: oneshot::Sender<()>,
    /// It goes through the delivery queue, too.
    through_queue: bool,
}

/// Checks the options for this broker without connecting; returns what the operator should know of them.
///
/// # Errors
/// When the URL is not a Redis URL.
pub fn check(options: &BrokerOptions) -> Result<Option<&'static str>, OpenError> {
    let address = Address::parse(&options.url)?;
    Ok((address.database() != 0).then_some(
        "the number of the database does not separate nodes: Redis' publish and subscribe ignore it, so nodes on other \
         databases of this server receive the same events",
    ))
}

/// What the broker's tasks have in common.
struct Shared {
    node_id: String,
    linger: Duration,
    address: Address,
    inbound: Arc<dyn Inbound>,
    link: PublishLink,
    ledger: Ledger,
    deliveries: Deliveries,
    outside: Outside,
    status: Status,
    /// What this node has to say to other nodes and to itself.
    notices: mpsc::UnboundedSender<Notice>,
    probes: Mutex<AHashMap<u64, Probe>>,
    questions: Questions,
    asks: Asks,
    tellings: Tellings,
    ids: Remembered,
}

impl RedisBroker {
    /// A broker for the node behind `inbound`. It connects in the background.
    ///
    /// # Errors
    /// When the URL is not a Redis URL.
    pub fn open(options: &BrokerOptions, inbound: Arc<dyn Inbound>) -> Result<Self, OpenError> {
        let BrokerOptions {
            url,
            node_id,
            linger,
            max_remembered_ids,
        } = options;
        let address = Address::parse(url)?;
        let node_id = if node_id.is_empty() {
            Uuid::new_v4().to_string()
        } else {
            node_id.clone()
        };
        let (deliveries, queue) = Deliveries::new();
        let (commands, subscriptions) = mpsc::unbounded_channel();
        let (notices, outgoing) = mpsc::unbounded_channel();
        let (jobs, queued_jobs) = mpsc::unbounded_channel();
        let (asks, queued_asks) = Asks::new();
        let (outside, waiting) = Outside::new(deliveries.clone());
        let shared = Arc::new(Shared {
            tellings: Tellings::new(&node_id),
            node_id,
            linger: *linger,
            status: Status::new(address.place.clone()),
            address,
            inbound,
            link: PublishLink::default(),
            ledger: Ledger::new(deliveries.clone(), commands),
            deliveries,
            outside,
            notices,
            probes: Mutex::default(),
            questions: Questions::default(),
            asks,
            ids: Remembered::new(*max_remembered_ids),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(link::run(Arc::clone(&shared)));
        tasks.spawn(subscriber::run(Arc::clone(&shared), subscriptions));
        tasks.spawn(delivery::run(Arc::clone(&shared), queue));
        tasks.spawn(outside::run(Arc::clone(&shared), waiting));
        tasks.spawn(publisher::run(Arc::clone(&shared), queued_jobs, outgoing));
        tasks.spawn(ledger::sweep(Arc::clone(&shared)));
        tasks.spawn(answering::run(Arc::clone(&shared), queued_asks));
        tasks.spawn(tellings::run(Arc::clone(&shared)));
        Ok(Self {
            shared,
            jobs,
            runtime: Handle::current(),
            _tasks: tasks,
        })
    }
}

impl Broker for RedisBroker {
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Receipt>> {
        let count = events.len();
        if count == 0 {
            return Box::pin(std::future::ready(Vec::new()));
        }
        let (done, receipts) = oneshot::channel();
        // Fails only while the runtime shuts down, when nobody is left to deliver to.
        let _ = self.jobs.send(Job { events, done });
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
        let in_force = self.shared.ledger.subscribe(interest);
        Box::pin(async move {
            if let Some(in_force) = in_force {
                // An error means that the connection was lost meanwhile.
                let _ = in_force.await;
            }
        })
    }

    fn unsubscribe(&self, interest: Interest) {
        self.shared.ledger.unsubscribe(interest);
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
        Box::pin(asking::ask(&self.shared, question))
    }

    fn tell(&self, notice: Bytes) {
        node::tell(&*self.shared.inbound, notice.clone());
        let is_too_large = notice.len() > MAX_MESSAGE_BYTES;
        if is_too_large || self.shared.tellings.tell(notice) > 0 {
            self.shared.status.untold();
        }
    }

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        Box::pin(async move {
            let (done, claims) = oneshot::channel();
            // On its own, so that it is known to the end what became of them, whoever waits.
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
        self.go_on(async move { ids::write(&shared, &receipts).await })
    }

    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        self.go_on(async move { ids::release(&shared, ids).await })
    }

    fn remembered_ids(&self) -> RememberedIds {
        self.shared.ids.count()
    }
}

impl RedisBroker {
    /// Begins `work`, which goes on whether or not somebody waits for its end.
    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, ()> {
        let work = self.runtime.spawn(work);
        Box::pin(async move {
            // An error means that the runtime shuts down.
            let _ = work.await;
        })
    }
}

impl Shared {
    /// Publishes a number on this node's own channel and waits until it has come back, and if wanted until the delivery
    /// queue has seen it.
    async fn round_trip(&self, through_queue: bool) -> Result<(), BrokerError> {
        if self.link.current().is_none() || !self.ledger.is_hearing() {
            return Err(BrokerError::Away);
        }
        let nonce = rand::random::<u64>();
        let (back, came) = oneshot::channel();
        let probe = Probe { back, through_queue };
        self.probes().insert(nonce, probe);
        let work = async {
            let message = Control::Probe(nonce).write(None);
            let mut pipe = Pipeline::with_capacity(1);
            pipe.cmd("PUBLISH")
                .arg(control::channel_of(&self.node_id))
                .arg(message);
            match self.link.send(&pipe, 1).await.as_deref() {
                Some([Value::ServerError(error)]) => {
                    let error = self.address.answered(error.code(), error.details());
                    Err(BrokerError::Refused(error))
                }
                Some(_) => came.await.map_err(|_| BrokerError::TimedOut),
                None => Err(BrokerError::TimedOut),
            }
        };
        let result = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        self.probes().remove(&nonce);
        result.unwrap_or(Err(BrokerError::TimedOut))
    }

    /// A probe came back from Redis.
    fn probe_came(&self, nonce: u64) {
        let mut probes = self.probes();
        if probes.get(&nonce).is_some_and(|probe| probe.through_queue) {
            self.deliveries.push(Item::Probe(nonce));
        } else if let Some(probe) = probes.remove(&nonce) {
            let _ = probe.back.send(());
        }
    }

    fn probes(&self) -> std::sync::MutexGuard<'_, AHashMap<u64, Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, notice: Notice) {
        // Fails only while the runtime shuts down.
        let _ = self.notices.send(notice);
    }
}
