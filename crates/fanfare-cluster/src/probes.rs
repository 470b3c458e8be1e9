//! Messages of this node to itself through the transport, which show that messages arrive.

use std::{sync::Arc, time::Instant};

use fanfare_core::{BrokerError, Histogram};

use crate::{
    ANSWER_TIMEOUT, messages::NodeMessage, node::Node, peers::Kind, requests::Requests, status::Side,
    transport::PublishError,
};

/// Sends probes, and measures their round trips.
pub(crate) struct Probes {
    node: Arc<Node>,
    requests: Arc<Requests>,
    /// The round trips of [`Self::observed`].
    pub(crate) times: Histogram,
}

impl Probes {
    pub(crate) fn new(node: Arc<Node>, requests: Arc<Requests>) -> Self {
        Self {
            node,
            requests,
            times: Histogram::default(),
        }
    }

    /// Returns whether a connection is missing, or the subscriptions are not yet in force. In the second case the node misses events,
    /// although its probes arrive.
    pub(crate) fn is_away(&self) -> bool {
        self.node.link.current().is_none() || !self.node.status.is_up(Side::Receiving)
    }

    /// Publishes a probe on this node's subject and waits for it; with `through_queue`, until it has passed the delivery queue.
    pub(crate) async fn round_trip(&self, through_queue: bool) -> Result<(), BrokerError> {
        if self.is_away() {
            return Err(BrokerError::Away);
        }
        let request = self.requests.begin(Kind::Probe);
        let message = if through_queue {
            self.requests.flush(request.number)
        } else {
            NodeMessage::Probe(request.number)
        };
        let messages = [message.to(self.node.own_subject(), None)];
        let published = tokio::time::timeout(ANSWER_TIMEOUT, self.node.link.publish(&messages)).await;
        match published.ok().and_then(|mut published| published.pop()) {
            Some(Err(PublishError::Refused(error))) => Err(BrokerError::Refused(error)),
            Some(Ok(_)) if request.replies().await.complete => Ok(()),
            _ => Err(BrokerError::TimedOut),
        }
    }

    /// As [`Self::round_trip`] without the queue. Records the time of a success.
    pub(crate) async fn observed(&self) -> Result<(), BrokerError> {
        let start = Instant::now();
        self.round_trip(false).await?;
        self.times.observe(start.elapsed());
        Ok(())
    }
}
