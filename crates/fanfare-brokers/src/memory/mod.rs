//! The embedded broker: one node that needs no other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fanfare_core::{BoxFuture, Broker, BrokerError, BrokerHealth, Event, Inbound, Interest, Receipt};

/// Hands what is published straight to this node.
pub struct MemoryBroker {
    inbound: Arc<dyn Inbound>,
}

impl MemoryBroker {
    /// A broker for the node behind `inbound`.
    pub fn new(inbound: Arc<dyn Inbound>) -> Self {
        Self { inbound }
    }
}

impl Broker for MemoryBroker {
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>> {
        let delivering = self.inbound.deliver(events);
        Box::pin(async move {
            let receipts = delivering.await.into_iter().map(|reach| Receipt {
                reach,
                nodes: 1,
                degraded: false,
            });
            receipts.collect()
        })
    }

    fn subscribe(&self, _interest: Interest) -> BoxFuture<'static, ()> {
        // Everything published reaches this node anyway.
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
}
