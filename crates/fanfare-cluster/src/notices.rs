//! Notices to all nodes: each node receives each once and in order, though the transport reaches only those that receive just
//! then.
//!
//! A node numbers the notices that it publishes and keeps the latest. A node that receives one out of turn has missed some
//! and asks their publisher for them; and a node that begins to receive sends all nodes what it has received and published
//! ([`NodeMessage::Hello`](crate::messages::NodeMessage)). The reply is what is missing, on the way of all other notices, so
//! that it stays in order. A repetition is recognised by its number. Nothing counts as sent until the transport accepted it.

mod log;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    Shared,
    backoff::Backoff,
    messages::{Hello, NoticePlace},
    transport::{Message, PublishError},
};
use log::Log;

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

    /// This node receives now, and may have missed something before.
    pub(crate) fn connected(&self) {
        self.log().greet_all();
        self.work.notify_one();
    }

    /// A notice arrived, or the message that none is missing. Returns whether to deliver it now.
    pub(crate) fn received(&self, place: &NoticePlace) -> bool {
        let is_next = self.log().receive(place, Instant::now());
        if !is_next {
            self.work.notify_one();
        }
        is_next
    }

    /// Another node begins to receive, or has missed a notice.
    pub(crate) fn greeted(&self, hello: &Hello) {
        self.log().greeted(hello, Instant::now());
        self.work.notify_one();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
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
            let Some(batch) = notices.log().batch(Instant::now()) else {
                break;
            };
            if send(&shared, &batch.messages).await {
                backoff.reset();
            } else {
                notices.log().take_back(batch);
                backoff.wait().await;
            }
        }
    }
}

/// Whether the transport accepted all of it.
async fn send(shared: &Shared, messages: &[Message]) -> bool {
    let published = shared.link.publish(messages).await;
    let failed = published.into_iter().find_map(Result::err);
    if let Some(PublishError::Refused(error)) = &failed {
        shared.status.notice_refused(error);
    }
    failed.is_none()
}
