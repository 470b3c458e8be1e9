//! The way of clients' events to the broker. Each client's are placed there in their order; how many may be on the way is limited.

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

/// Clients' events on the way at once, per shard. More make their senders wait, by not being read from.
const IN_FLIGHT: usize = 1024;

/// A shard's way to the broker.
pub(super) struct Publisher {
    node: Arc<Node>,
    permits: Arc<Semaphore>,
    /// Events of which no receipt is awaited, until they go to the broker together, and their permits.
    gathered: RefCell<(Vec<Event>, Option<OwnedSemaphorePermit>)>,
    /// There are such events.
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

    /// Has `event` placed at the broker soon, together with what other clients send. Returns it if there is no room for it.
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

    /// Places what was gathered, for ever.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            self.has_gathered.notified().await;
            self.place();
        }
    }

    /// Places what was gathered now: before a client is answered, and before anything else is done for one.
    pub(super) fn place(&self) {
        let (events, permits) = self.gathered.take();
        if !events.is_empty() {
            drop(self.send(events, permits, PublishOptions { receipt: false }));
        }
    }

    /// Publishes `event`, once there is room; the receipt comes when it is delivered.
    pub(super) async fn publish(
        &self,
        event: Event,
        options: PublishOptions,
    ) -> oneshot::Receiver<Vec<Receipt>> {
        // Fails only if the semaphore is closed, which it never is.
        let permit = self.permits.clone().acquire_owned().await.ok();
        self.place();
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
        // Its first part runs now, in the order of the clients' messages. A fault there is no fault of the client that is served.
        let begun = catch_unwind(AssertUnwindSafe(|| node.publish(events, options, Conflict::Wait)));
        let Ok(publishing) = begun else {
            tracing::error!("a fault while publishing what clients sent");
            return receipts;
        };
        let rest = async move {
            let published = AssertUnwindSafe(publishing).catch_unwind().await;
            drop(permits);
            if let Ok(receipts) = published {
                let _ = report.send(receipts.unwrap_or_default()); // the caller may be gone
            } else {
                tracing::error!("a fault while publishing what clients sent");
            }
        };
        tokio::spawn(rest);
        receipts
    }
}
