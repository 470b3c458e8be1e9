//! The embedded broker, for a single node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fanfare_core::{
    BoxFuture, Broker, BrokerError, BrokerHealth, Channel, Claim, Entry, Event, Inbound, Interest,
    NodeAnswers, PresenceCounts, Present, PublishOptions, Receipt, RememberedIds, Slot, UserId,
    journal::{JournalFigures, Replay, ReplayQuery},
};
use uuid::Uuid;

use crate::{
    id_memory::IdMemory,
    journal::{DEFAULT_MAX_BYTES, MemoryJournal},
    local,
    local_rooms::LocalRooms,
};

/// The broker of a single node: it delivers publications directly.
pub struct EmbeddedBroker {
    inbound: Arc<dyn Inbound>,
    ids: IdMemory,
    rooms: LocalRooms,
    journal: MemoryJournal,
}

impl EmbeddedBroker {
    /// Returns a broker for the node behind `inbound`. It remembers at most `max_remembered_ids` ids, and lists the members of rooms
    /// with at most `max_listed_members`.
    pub fn new(inbound: Arc<dyn Inbound>, max_remembered_ids: usize, max_listed_members: usize) -> Self {
        Self {
            ids: IdMemory::new(max_remembered_ids),
            rooms: LocalRooms::new(max_listed_members),
            journal: MemoryJournal::new(DEFAULT_MAX_BYTES),
            inbound,
        }
    }

    /// Replaces the default journal by `journal`.
    #[must_use]
    pub fn keeping(self, journal: MemoryJournal) -> Self {
        Self { journal, ..self }
    }
}

impl Broker for EmbeddedBroker {
    fn publish(&self, events: Vec<Event>, _: PublishOptions) -> BoxFuture<'static, Vec<Receipt>> {
        let delivering = if events.iter().any(|event| event.history.wanted().is_some()) {
            self.journal.append(events, |events| self.inbound.deliver(events))
        } else {
            self.inbound.deliver(events)
        };
        Box::pin(async move {
            let receipts = delivering.await.into_iter().map(|reach| Receipt {
                reach,
                nodes: 1,
                ..Receipt::default()
            });
            receipts.collect()
        })
    }

    fn subscribe(&self, _interest: Interest) -> BoxFuture<'static, ()> {
        // Every publication reaches this node anyway.
        Box::pin(std::future::ready(()))
    }

    fn unsubscribe(&self, _interest: Interest) {}

    fn health(&self) -> BoxFuture<'_, BrokerHealth> {
        Box::pin(std::future::ready(BrokerHealth::Embedded))
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, BrokerError>> {
        Box::pin(async move {
            let start = Instant::now();
            self.inbound.probe().await?;
            Ok(start.elapsed())
        })
    }

    fn ask(&self, question: Bytes) -> BoxFuture<'_, NodeAnswers> {
        Box::pin(async move {
            let answer = local::answer(&*self.inbound, question).await;
            NodeAnswers {
                complete: answer.is_some(),
                answers: answer.into_iter().collect(),
            }
        })
    }

    fn broadcast(&self, notice: Bytes) {
        local::notify(&*self.inbound, notice);
    }

    fn claim(&self, ids: Vec<Uuid>) -> BoxFuture<'_, Vec<Claim>> {
        Box::pin(async move { ids.into_iter().map(|id| self.ids.claim(id)).collect() })
    }

    fn record(&self, receipts: Vec<(Uuid, Receipt)>) -> BoxFuture<'static, ()> {
        for (id, receipt) in &receipts {
            self.ids.record(*id, receipt);
        }
        Box::pin(std::future::ready(()))
    }

    fn release(&self, ids: Vec<Uuid>) -> BoxFuture<'static, ()> {
        for id in ids {
            self.ids.release(id);
        }
        Box::pin(std::future::ready(()))
    }

    fn remembered_ids(&self) -> RememberedIds {
        self.ids.count()
    }

    fn replay(&self, query: ReplayQuery) -> BoxFuture<'static, Replay> {
        Box::pin(std::future::ready(self.journal.read(&query)))
    }

    fn journal_figures(&self) -> JournalFigures {
        self.journal.figures()
    }

    fn enter(&self, entry: Entry) {
        self.rooms.enter(entry);
        self.rooms.deliver(&*self.inbound);
    }

    fn leave(&self, room: Channel, user: UserId) {
        self.rooms.leave(&room, &user);
        self.rooms.deliver(&*self.inbound);
    }

    fn present(&self, room: &Channel) -> Vec<Present> {
        self.rooms.present(room)
    }

    fn rooms(&self) -> usize {
        self.rooms.count()
    }

    fn presence_counts(&self) -> PresenceCounts {
        PresenceCounts {
            lists_left_out: self.rooms.lists.left_out(),
            ..PresenceCounts::default()
        }
    }

    fn acquire_slot(&self, _slot: Slot, _most: usize) -> BoxFuture<'static, bool> {
        // The caller counts the places on this node, and there is no other.
        Box::pin(std::future::ready(true))
    }

    fn release_slot(&self, _slot: Slot) {}

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
