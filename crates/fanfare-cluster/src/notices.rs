//! Notices to all nodes: each live node receives each notice once and in order, although the transport reaches only the nodes that
//! are subscribed at that moment.
//!
//! A node numbers the notices that it publishes, keeps the latest, and reports their number at intervals (`reports`). If a node
//! receives a notice out of order, or a report of more notices than it has received, it requests the missing ones from their
//! publisher. The publisher sends them by the same connection as all other notices, so they stay in order. A duplicate is recognised
//! by its number.

mod log;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::Bytes;
use fanfare_core::locked;
use tokio::sync::Notify;

use crate::{
    backoff::Backoff, deliveries::Item, messages::MissedNotices, node::Node, status::Refused,
    transport::PublishError,
};
use log::{Log, Sequence};

/// See the module's documentation.
pub(crate) struct Notices {
    node: Arc<Node>,
    log: Mutex<Log>,
    /// Wakes the task that sends.
    work: Notify,
}

impl Notices {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            log: Mutex::new(Log::new(&node.id, rand::random(), Instant::now())),
            node,
            work: Notify::new(),
        }
    }

    /// Publishes `notice` to the other nodes. Returns the number of notices that were dropped before they were sent.
    pub(crate) fn publish(&self, notice: Bytes) -> usize {
        let dropped = locked(&self.log).publish(notice, Instant::now());
        self.work.notify_one();
        dropped
    }

    /// Returns the `run` of this process, and the number of notices that it has sent.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let log = locked(&self.log);
        (log.run, log.sent)
    }

    /// Sends another node the notices that it has missed.
    pub(crate) fn retransmit(&self, missed: MissedNotices) {
        locked(&self.log).retransmit(missed, Instant::now());
        self.work.notify_one();
    }

    /// Notes that no notice of process `run` below `number` is missing.
    pub(crate) fn skip(&self, run: u64, number: u64) {
        locked(&self.log).skip(run, number, Instant::now());
    }

    /// Receives notice `number` of process `run` of `node`: delivers it, or requests those before it.
    pub(crate) fn receive(&self, node: &str, (run, number): (u64, u64), notice: Bytes) {
        let sequence = locked(&self.log).receive(run, number, Instant::now());
        if sequence == Sequence::Next {
            self.node.deliveries.push(Item::Notice(notice));
        }
        self.request_missing(node, run, sequence);
    }

    /// Requests the notices that process `run` of `node` has sent below `next` and that have not arrived.
    pub(crate) fn reported(&self, node: &str, run: u64, next: u64) {
        let sequence = locked(&self.log).reported(run, next, Instant::now());
        self.request_missing(node, run, sequence);
    }

    fn request_missing(&self, node: &str, run: u64, sequence: Sequence) {
        if sequence == Sequence::Gap
            && let Some(request) = locked(&self.log).request(run, Instant::now())
        {
            self.node.outbox.send_to(node, request);
        }
    }
}

/// Sends notices until the broker is dropped. After an outage of the transport it resumes where it stopped.
pub(crate) async fn run(notices: Arc<Notices>) {
    let Node { link, status, .. } = &*notices.node;
    let mut backoff = Backoff::default();
    loop {
        notices.work.notified().await;
        loop {
            if link.current().is_none() {
                backoff.wait().await;
                continue;
            }
            let Some(batch) = locked(&notices.log).batch() else {
                break;
            };
            let published = link.publish(&batch.messages).await;
            match published.into_iter().find_map(Result::err) {
                None => {
                    backoff.reset();
                    let mut log = locked(&notices.log);
                    log.sent = batch.sent.unwrap_or(log.sent);
                }
                Some(error) => {
                    if let PublishError::Refused(error) = error {
                        status.refused(Refused::Notice, &error);
                    }
                    backoff.wait().await;
                }
            }
        }
    }
}
