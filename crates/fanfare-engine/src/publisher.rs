//! The way of clients' events to the broker. Each is placed there at the call, so that the order of calls is theirs, on
//! all shards; how many may be on the way is limited.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc};

use fanfare_core::{Event, PublishOptions, Receipt};
use futures_util::FutureExt;
use tokio::sync::{Semaphore, oneshot};

use super::{Conflict, Node};

/// Clients' events on the way at once, per shard. More make their senders wait, by not being read from.
const IN_FLIGHT: usize = 1024;

/// A shard's way to the broker.
pub(super) struct Publisher {
    node: Arc<Node>,
    permits: Arc<Semaphore>,
}

impl Publisher {
    pub(super) fn new(node: Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            node,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
        })
    }

    /// Publishes `event`, once there is room; the receipt comes when it is delivered.
    pub(super) async fn publish(&self, event: Event, options: PublishOptions) -> oneshot::Receiver<Receipt> {
        // Fails only if the semaphore is closed, which it never is.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (report, receipt) = oneshot::channel();
        let publishing = self.node.publish(vec![event], options, Conflict::Wait);
        let rest = async move {
            let published = AssertUnwindSafe(publishing).catch_unwind().await;
            drop(permit);
            if let Ok(receipts) = published {
                let receipt = receipts.ok().and_then(|receipts| receipts.first().copied());
                // The caller may be gone.
                let _ = report.send(receipt.unwrap_or_default());
            } else {
                tracing::error!("a fault while publishing what a client sent");
            }
        };
        tokio::spawn(rest);
        receipt
    }
}
