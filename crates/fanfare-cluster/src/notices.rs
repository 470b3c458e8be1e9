//! Notices to all nodes: each node receives each once and in order, though the transport reaches only those that receive just
//! then.
//!
//! A node numbers the notices that it publishes, keeps the latest, and reports again and again how many it has sent
//! (`reports`). A node that receives one out of turn, or a report of some that it has not received, asks their publisher for them.
//! They come on the way of all other notices, so that they stay in order. A repetition is recognised by its number.

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
use log::{Arrival, Log};

/// See the module's documentation.
pub(crate) struct Notices {
    node: Arc<Node>,
    log: Mutex<Log>,
    /// Notified when there is something to send.
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

    /// Publishes `notice` to the other nodes. Returns how many notices that they have not received had to be dropped.
    pub(crate) fn publish(&self, notice: Bytes) -> usize {
        let dropped = locked(&self.log).publish(notice, Instant::now());
        self.work.notify_one();
        dropped
    }

    /// This process among those of its name, and how many notices it has sent.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let log = locked(&self.log);
        (log.run, log.sent)
    }

    /// Another node has missed notices.
    pub(crate) fn missed(&self, missed: MissedNotices) {
        locked(&self.log).missed(missed, Instant::now());
        self.work.notify_one();
    }

    /// None of the notices of process `run` below `number` is missing.
    pub(crate) fn skip(&self, run: u64, number: u64) {
        locked(&self.log).skip(run, number, Instant::now());
    }

    /// Notice `number` of process `run` of `node` arrived.
    pub(crate) fn receive(&self, node: &str, (run, number): (u64, u64), notice: Bytes) {
        let arrival = locked(&self.log).receive(run, number, Instant::now());
        if arrival == Arrival::Next {
            self.node.deliveries.push(Item::Notice(notice));
        }
        self.request(node, run, arrival);
    }

    /// Process `run` of `node` has sent all notices below `next`.
    pub(crate) fn reported(&self, node: &str, run: u64, next: u64) {
        let arrival = locked(&self.log).reported(run, next, Instant::now());
        self.request(node, run, arrival);
    }

    /// If some are missing, asks for them.
    fn request(&self, node: &str, run: u64, arrival: Arrival) {
        if arrival == Arrival::Gap
            && let Some(request) = locked(&self.log).request(run, Instant::now())
        {
            self.node.outbox.send_to(node, request);
        }
    }
}

/// Sends what there is to send until the broker is dropped, and goes on where it was when the transport is back.
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
