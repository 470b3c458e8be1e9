//! Numbers on their way through the transport and back, which show that messages arrive.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use ahash::AHashMap;
use fanfare_core::{BrokerError, Histogram, locked};
use tokio::sync::oneshot;

use crate::{
    ANSWER_TIMEOUT, deliveries::Item, messages::NodeMessage, node::Node, receipts::Receipts,
    transport::PublishError,
};

/// See the module's documentation.
pub(crate) struct Probes {
    node: Arc<Node>,
    receipts: Arc<Receipts>,
    open: Mutex<AHashMap<u64, Probe>>,
    /// How long those of [`Self::observed`] took.
    pub(crate) times: Histogram,
}

struct Probe {
    back: oneshot::Sender<()>,
    /// It goes through the delivery queue, too.
    through_queue: bool,
}

impl Probes {
    pub(crate) fn new(node: Arc<Node>, receipts: Arc<Receipts>) -> Self {
        Self {
            node,
            receipts,
            open: Mutex::default(),
            times: Histogram::default(),
        }
    }

    /// Publishes a number on this node's own subject and waits until it has arrived, and if wanted until the delivery
    /// queue has passed it.
    pub(crate) async fn round_trip(&self, through_queue: bool) -> Result<(), BrokerError> {
        if self.node.link.current().is_none() || !self.receipts.is_receiving() {
            return Err(BrokerError::Away);
        }
        let nonce = rand::random::<u64>();
        let (back, arrived) = oneshot::channel();
        locked(&self.open).insert(nonce, Probe { back, through_queue });
        let work = async {
            let message = NodeMessage::Probe(nonce).to(self.node.own_subject(), None);
            match self.node.link.publish(&[message]).await.pop() {
                Some(Err(PublishError::Refused(error))) => Err(BrokerError::Refused(error)),
                Some(Ok(_)) => arrived.await.map_err(|_| BrokerError::TimedOut),
                Some(Err(PublishError::Lost)) | None => Err(BrokerError::TimedOut),
            }
        };
        let result = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
        locked(&self.open).remove(&nonce);
        result.unwrap_or(Err(BrokerError::TimedOut))
    }

    /// As [`Self::round_trip`] without the queue; a success is counted by its time.
    pub(crate) async fn observed(&self) -> Result<(), BrokerError> {
        let start = Instant::now();
        self.round_trip(false).await?;
        self.times.observe(start.elapsed());
        Ok(())
    }

    /// A probe arrived.
    pub(crate) fn arrived(&self, nonce: u64) {
        let through_queue = |probe: &Probe| probe.through_queue;
        if locked(&self.open).get(&nonce).is_some_and(through_queue) {
            self.node.deliveries.push(Item::Probe(nonce));
        } else {
            self.passed(nonce);
        }
    }

    /// A probe has passed all that it should.
    pub(crate) fn passed(&self, nonce: u64) {
        if let Some(probe) = locked(&self.open).remove(&nonce) {
            let _ = probe.back.send(());
        }
    }
}
