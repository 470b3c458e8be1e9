//! Publishes clients' events by the broker, in the order of each client, and limits the events in flight.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use fanfare_core::{Event, PublishOptions, Receipt};
use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Conflict, Node};

/// The most events of clients in flight, per shard. Beyond it, nothing is read from a sender until there is room.
const IN_FLIGHT: usize = 1024;

/// Publishes the events of one shard's clients.
pub(super) struct Publisher {
    node: Arc<Node>,
    permits: Arc<Semaphore>,
    /// Events without a receipt, to be published together, and their permits.
    gathered: RefCell<(Vec<Event>, Option<OwnedSemaphorePermit>)>,
    /// Notified at the first gathered event.
    has_gathered: Notify,
}

impl Publisher {
    pub(super) fn new(node: Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            node,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            gathered: RefCell::default(),
            has_gathered: Notify::new(),
        })
    }

    /// Gathers `event`, to be published together with those of other clients. Returns it if there is no room.
    pub(super) fn gather(&self, event: Event) -> Option<Event> {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return Some(event);
        };
        let (events, permits) = &mut *self.gathered.borrow_mut();
        if events.is_empty() {
            self.has_gathered.notify_one();
        }
        events.push(event);
        match permits {
            Some(permits) => permits.merge(permit),
            None => *permits = Some(permit),
        }
        None
    }

    /// Publishes gathered events, forever.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            self.has_gathered.notified().await;
            self.publish_gathered();
        }
    }

    /// Publishes the gathered events. Called before a client is answered, and before another command of a client runs.
    pub(super) fn publish_gathered(&self) {
        let (events, permits) = self.gathered.take();
        if !events.is_empty() {
            drop(self.send(events, permits, PublishOptions { receipt: false }));
        }
    }

    /// Publishes `event` as soon as there is room. The receipt arrives after its delivery.
    pub(super) async fn publish(
        &self,
        event: Event,
        options: PublishOptions,
    ) -> oneshot::Receiver<Vec<Receipt>> {
        // Fails only if the semaphore is closed, which it never is.
        let permit = self.permits.clone().acquire_owned().await.ok();
        self.publish_gathered();
        self.send(vec![event], permit, options)
    }

    fn send(
        &self,
        events: Vec<Event>,
        permits: Option<OwnedSemaphorePermit>,
        options: PublishOptions,
    ) -> oneshot::Receiver<Vec<Receipt>> {
        let (report, receipts) = oneshot::channel();
        let node = self.node.clone();
        // `publish` keeps the order of calls even before it is polled. A panic in it must not end the client that is served.
        let begun = catch_unwind(AssertUnwindSafe(|| node.publish(events, options, Conflict::Wait)));
        let Ok(publishing) = begun else {
            tracing::error!("a panic while publishing the events of clients");
            return receipts;
        };
        let rest = async move {
            let published = AssertUnwindSafe(publishing).catch_unwind().await;
            drop(permits);
            if let Ok(receipts) = published {
                let _ = report.send(receipts.unwrap_or_default()); // the caller may be gone
            } else {
                tracing::error!("a panic while publishing the events of clients");
            }
        };
        tokio::spawn(rest);
        receipts
    }
}
