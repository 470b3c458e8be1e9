//! The broker over a transport.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanfare_core::{
    BoxFuture, Broker, BrokerError, BrokerFigures, BrokerHealth, Channel, Claim, Entry, Event, Histogram,
    Inbound, Interest, MAX_MESSAGE_BYTES, NodeAnswers, PresenceCounts, Present, PublishOptions, Receipt,
    RememberedIds, Slot, UserId,
    journal::{JournalFigures, Replay, ReplayQuery},
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
    deliverer,
    deliveries::Deliveries,
    foreign::{self, Foreign},
    gaps, link, local,
    node::Node,
    notices,
    outbox::Outbox,
    presence, publisher, questions,
    receipts::{Job, Receipts},
    receiver, recorder, reports,
    shared::{ClusterOptions, Shared},
    status::Status,
    transport::{Transport, presence::LEASE_LIFETIME},
};

/// A broker for many nodes.
pub struct ClusterBroker {
    shared: Arc<Shared>,
    /// Unbounded, because each caller waits for its receipts before it publishes again.
    jobs: mpsc::UnboundedSender<Job>,
    /// Runs work to its end even if its caller stops waiting.
    runtime: Handle,
    /// Aborts the tasks when the broker is dropped.
    _tasks: JoinSet<()>,
}

impl ClusterBroker {
    /// Starts a broker for the node behind `inbound`, which connects in the background. Call it inside a runtime, which drives the broker's
    /// tasks until the broker is dropped.
    pub fn new(transport: Arc<dyn Transport>, options: &ClusterOptions, inbound: Arc<dyn Inbound>) -> Self {
        let id: Box<str> = if options.node_id.is_empty() {
            Uuid::new_v4().to_string().into()
        } else {
            options.node_id.as_str().into()
        };
        let (deliveries, queue) = Deliveries::new();
        let (commands, subscriptions) = mpsc::unbounded_channel();
        let (outbox, outgoing) = Outbox::new();
        let (jobs, queued_jobs) = mpsc::unbounded_channel();
        let status = Arc::new(Status::new(Arc::clone(&transport)));
        let node = Arc::new(Node {
            id,
            inbound,
            transport,
            status,
            link: Arc::default(),
            outbox,
            deliveries: deliveries.clone(),
        });
        let (answers, asks) = Answers::new(Arc::clone(&node));
        let (foreign, waiting) = Foreign::new(deliveries.clone());
        let (overdue, overdue_events) = mpsc::unbounded_channel();
        let receipts = Receipts::new(deliveries, commands, overdue);
        let shared = Arc::new(Shared::new(node, receipts, answers, foreign, options));
        let Shared {
            node,
            receipts,
            requests,
            ids,
            foreign,
            answers,
            notices,
            presence,
            gaps,
            ..
        } = &*shared;
        let mut tasks = JoinSet::new();
        tasks.spawn(link::run(
            Arc::clone(&node.link),
            Arc::clone(&node.transport),
            Arc::clone(&node.status),
        ));
        tasks.spawn(receiver::run(Arc::clone(&shared), subscriptions));
        tasks.spawn(deliverer::run(Arc::clone(&shared), queue));
        tasks.spawn(foreign::run(Arc::clone(foreign), Arc::clone(ids), waiting));
        tasks.spawn(publisher::run(Arc::clone(&shared), queued_jobs, outgoing));
        tasks.spawn(Arc::clone(receipts).sweep(Arc::clone(requests), Arc::clone(node)));
        tasks.spawn(answers::run(Arc::clone(answers), asks));
        tasks.spawn(notices::run(Arc::clone(notices)));
        tasks.spawn(reports::run(Arc::clone(&shared)));
        tasks.spawn(presence::run(Arc::clone(presence)));
        tasks.spawn(gaps::run(Arc::clone(gaps), overdue_events));
        tasks.spawn(recorder::run(Arc::clone(&shared.recorder)));
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
        let shared = Arc::clone(&self.shared);
        let losses = shared.node.status.losses();
        let in_force = shared.receipts.subscribe(interest.clone());
        Box::pin(async move {
            if let Some(in_force) = in_force
                && in_force.await.is_err()
            {
                // The connection was lost meanwhile. The next one subscribes.
                shared.node.status.renewal_after(losses).await;
            }
            shared.gaps.watch(&interest);
        })
    }

    fn renewal(&self) -> Option<BoxFuture<'static, ()>> {
        self.shared.node.status.renewal()
    }

    fn unsubscribe(&self, interest: Interest) {
        self.shared.receipts.unsubscribe(interest.clone());
        self.shared.gaps.unwatch(&interest);
    }

    fn health(&self) -> BoxFuture<'_, BrokerHealth> {
        Box::pin(async move {
            let start = Instant::now();
            match self.shared.probes.round_trip(false).await {
                Ok(()) => BrokerHealth::Connected {
                    round_trip: start.elapsed(),
                },
                Err(BrokerError::Away) => BrokerHealth::Disconnected {
                    error: self.shared.node.status.error(),
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
            self.shared.probes.round_trip(true).await?;
            self.shared.node.inbound.probe().await?;
            Ok(start.elapsed())
        })
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'_, NodeAnswers> {
        Box::pin(questions::ask(&self.shared, question))
    }

    fn broadcast(&self, notice: Bytes) {
        local::notify(&*self.shared.node.inbound, notice.clone());
        let dropped = if notice.len() > MAX_MESSAGE_BYTES {
            1
        } else {
            self.shared.notices.publish(notice)
        };
        if dropped > 0 {
            self.shared.node.status.notices_dropped(dropped);
        }
    }

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        Box::pin(async move {
            let (done, claims) = oneshot::channel();
            let (stored, claimed) = (Arc::clone(&self.shared.ids), ids.clone());
            // In a separate task, so that ids are released if the caller stops waiting.
            drop(
                self.runtime
                    .spawn(async move { stored.claim(claimed, done).await }),
            );
            // Fails only while the runtime shuts down.
            let memory = &self.shared.ids.memory;
            let alone = |_| ids.into_iter().map(|id| memory.claim(id)).collect();
            claims.await.unwrap_or_else(alone)
        })
    }

    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()> {
        for (id, receipt) in &receipts {
            self.shared.ids.memory.record(*id, receipt);
        }
        let stored = Arc::clone(&self.shared.ids);
        self.complete(async move { stored.settle(&receipts).await })
    }

    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        let stored = Arc::clone(&self.shared.ids);
        self.complete(async move { stored.release(ids).await })
    }

    fn remembered_ids(&self) -> RememberedIds {
        self.shared.ids.memory.count()
    }

    fn replay(&self, query: ReplayQuery) -> BoxFuture<'static, Replay> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let is_settled = shared.recorder.settled(query.from).await;
            let (replay, floor) = shared.replays.read(&shared.node, &query, is_settled).await;
            match replay.present {
                Some(present) => shared.gaps.replayed(&query.scope, present, floor),
                None => shared.gaps.replay_failed(&query.scope),
            }
            replay
        })
    }

    fn journal_figures(&self) -> JournalFigures {
        self.shared.gaps.figures()
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
        Some(&self.shared.probes.times)
    }

    fn figures(&self) -> BrokerFigures {
        let Shared {
            receipts,
            node,
            peers,
            probes,
            ..
        } = &*self.shared;
        BrokerFigures {
            degraded: receipts.degraded(),
            ignored: node.status.ignored(),
            peers: peers.counts(),
            peers_lost: peers.died(),
            is_away: probes.is_away(),
            reconnects: node.status.reconnects(),
            notices_dropped: node.status.dropped(),
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        let released = self.shared.presence.close();
        Box::pin(async move {
            shared.recorder.close().await;
            let ended = tokio::time::timeout(ANSWER_TIMEOUT, reports::end(&shared));
            // The other nodes clean up what this node does not release in time.
            let released = tokio::time::timeout(LEASE_LIFETIME, released);
            let _ = tokio::join!(released, ended);
        })
    }
}

impl ClusterBroker {
    #[cfg(test)]
    pub(crate) fn presence(&self) -> &presence::Presence {
        &self.shared.presence
    }

    /// Returns whether the last numbers of some audiences are still unknown.
    #[cfg(test)]
    pub(crate) fn journal_is_new(&self) -> bool {
        self.shared.gaps.has_new()
    }

    /// Runs `work` to its end, even if the caller stops waiting.
    fn complete(&self, work: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, ()> {
        let work = self.runtime.spawn(work);
        Box::pin(async move {
            // An error means that the runtime shuts down.
            let _ = work.await;
        })
    }
}

#[cfg(test)]
mod tests;
