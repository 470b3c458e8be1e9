//! Notices to all nodes: each node receives each once and in order, though the transport reaches only those that receive just
//! then.
//!
//! A node numbers the notices that it publishes, keeps the latest, and reports again and again how many it has sent
//! ([`peers`](crate::peers)). A node that receives one out of turn, or a report of some that it has not received, asks their publisher for them.
//! They come on the way of all other notices, so that they stay in order. A repetition is recognised by its number.

mod log;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{Shared, backoff::Backoff, deliveries::Item, messages::MissedNotices, transport::PublishError};
use log::{Arrival, Log};

/// See the module's documentation.
pub(crate) struct Notices {
    log: Mutex<Log>,
    /// Notified when there is something to send.
    work: Notify,
}

impl Notices {
    pub(crate) fn new(node_id: &str) -> Self {
        Self {
            log: Mutex::new(Log::new(node_id, rand::random(), Instant::now())),
            work: Notify::new(),
        }
    }

    /// Publishes `notice` to the other nodes. Returns how many notices that they have not received had to be dropped.
    pub(crate) fn publish(&self, notice: Bytes) -> usize {
        let dropped = self.log().publish(notice, Instant::now());
        self.work.notify_one();
        dropped
    }

    /// This process among those of its name, and how many notices it has sent.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let log = self.log();
        (log.run, log.sent)
    }

    /// Another node has missed notices.
    pub(crate) fn missed(&self, missed: MissedNotices) {
        self.log().missed(missed, Instant::now());
        self.work.notify_one();
    }

    /// None of the notices of process `run` below `number` is missing.
    pub(crate) fn skip(&self, run: u64, number: u64) {
        self.log().skip(run, number, Instant::now());
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notice `number` of process `run` of `node` arrived.
pub(crate) fn receive(shared: &Shared, node: &str, (run, number): (u64, u64), notice: Bytes) {
    let arrival = shared.notices.log().receive(run, number, Instant::now());
    if arrival == Arrival::Next {
        shared.deliveries.push(Item::Notice(notice));
    }
    request(shared, node, run, arrival);
}

/// Process `run` of `node` has sent all notices below `next`.
pub(crate) fn reported(shared: &Shared, node: &str, run: u64, next: u64) {
    let arrival = shared.notices.log().reported(run, next, Instant::now());
    request(shared, node, run, arrival);
}

/// If some are missing, asks for them.
fn request(shared: &Shared, node: &str, run: u64, arrival: Arrival) {
    if arrival == Arrival::Gap
        && let Some(request) = shared.notices.log().request(run, Instant::now())
    {
        shared.send_to(node, request);
    }
}

/// Sends what there is to send until the broker is dropped, and goes on where it was when the transport is back.
pub(crate) async fn run(shared: Arc<Shared>) {
    let notices = &shared.notices;
    let mut backoff = Backoff::default();
    loop {
        notices.work.notified().await;
        loop {
            if shared.link.current().is_none() {
                backoff.wait().await;
                continue;
            }
            let Some(batch) = notices.log().batch() else {
                break;
            };
            let published = shared.link.publish(&batch.messages).await;
            match published.into_iter().find_map(Result::err) {
                None => {
                    backoff.reset();
                    let mut log = notices.log();
                    log.sent = batch.sent.unwrap_or(log.sent);
                }
                Some(error) => {
                    if let PublishError::Refused(error) = error {
                        shared.status.notice_refused(&error);
                    }
                    backoff.wait().await;
                }
            }
        }
    }
}
