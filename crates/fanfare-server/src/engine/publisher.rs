//! The way of clients' events to the broker: one queue per shard, so that their order is the order they were sent in.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc};

use fanfare_core::{Event, Receipt};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Node;

/// Clients' events on the way at once, per shard. More make their senders wait, by not being read from.
const IN_FLIGHT: usize = 1024;
/// Events handed to the broker at once.
const BATCH: usize = 256;

/// A shard's queue to the broker.
#[derive(Clone)]
pub(super) struct Publisher {
    queue: mpsc::UnboundedSender<Item>,
    permits: Arc<Semaphore>,
}

/// An event, and who waits for what became of it.
struct Item {
    event: Event,
    reply: Option<oneshot::Sender<Receipt>>,
    /// Given back when it was delivered.
    permit: Option<OwnedSemaphorePermit>,
}

impl Publisher {
    /// A queue, emptied by a task of this thread.
    pub(super) fn start(node: Arc<Node>) -> Rc<Self> {
        let (queue, items) = mpsc::unbounded_channel();
        tokio::task::spawn_local(run(node, items));
        Rc::new(Self {
            queue,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
        })
    }

    /// Puts `event` behind those before it, once there is room; the receipt comes when it is delivered.
    pub(super) async fn publish(&self, event: Event) -> oneshot::Receiver<Receipt> {
        // Fails only when the semaphore is closed, which nobody does.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (reply, receipt) = oneshot::channel();
        self.put(Item {
            event,
            reply: Some(reply),
            permit,
        });
        receipt
    }

    /// The same for what the server says of a connection that is over: nobody could wait.
    pub(super) fn publish_last(&self, event: Event) {
        self.put(Item {
            event,
            reply: None,
            permit: None,
        });
    }

    fn put(&self, item: Item) {
        let _ = self.queue.send(item); // fails only when the shard has stopped
    }
}

async fn run(node: Arc<Node>, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            count = items.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                let mut sending = Box::pin(send(node.clone(), std::mem::take(&mut batch)));
                // The first poll hands the events to the broker, so it comes in the order of the queue.
                if (&mut sending).now_or_never().is_none() {
                    under_way.push(sending);
                }
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn send(node: Arc<Node>, items: Vec<Item>) {
    let mut events = Vec::with_capacity(items.len());
    let mut waiting = Vec::with_capacity(items.len());
    for item in items {
        events.push(item.event);
        waiting.push((item.reply, item.permit));
    }
    let published = AssertUnwindSafe(node.publish(events)).catch_unwind().await;
    let receipts = published.unwrap_or_else(|_| {
        tracing::error!("a fault while publishing what clients sent");
        Vec::new()
    });
    for ((reply, _given_back), receipt) in waiting.into_iter().zip(receipts) {
        if let Some(reply) = reply {
            let _ = reply.send(receipt); // whoever asked may be gone
        }
    }
}
