//! The publications of one read: published together, each with its reply in order.

use std::time::SystemTime;

use fanfare_core::{Event, Receipt};

use super::{
    door::Host,
    writer::{Protocol, Writer},
};

struct PendingReply {
    /// Its offset in the replies.
    at: usize,
    events: usize,
}

pub(super) struct Batch {
    pub(super) now: SystemTime,
    events: Vec<Event>,
    pending: Vec<PendingReply>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            now: SystemTime::now(),
            events: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Adds the events of one `PUBLISH`, which `read` appends. Its reply belongs at `at` in the replies, even if `read` fails.
    pub(super) fn add<T>(&mut self, at: usize, read: impl FnOnce(&mut Vec<Event>) -> T) -> T {
        let before = self.events.len();
        let done = read(&mut self.events);
        let events = self.events.len() - before;
        self.pending.push(PendingReply { at, events });
        done
    }

    pub(super) fn len(&self) -> usize {
        self.events.len().max(self.pending.len())
    }

    /// Publishes all events, and inserts the replies into those of `writer`.
    pub(super) async fn publish(&mut self, host: &dyn Host, writer: &mut Writer) {
        if self.pending.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let receipts = if events.is_empty() {
            Vec::new()
        } else {
            host.publish(events).await
        };
        insert_replies(&self.pending, &receipts, writer);
        self.pending.clear();
    }

    pub(super) fn shrink(&mut self) {
        self.pending = Vec::new();
    }
}

/// Inserts each reply: the number of connections that the publication's events reached.
fn insert_replies(pending: &[PendingReply], receipts: &[Receipt], writer: &mut Writer) {
    let replies = &writer.out;
    let mut merged = Writer {
        out: Vec::with_capacity(replies.len() + pending.len() * 6),
        protocol: Protocol::default(),
    };
    let mut counts = receipts.iter().map(|receipt| receipt.reach.queued);
    let mut copied = 0;
    for reply in pending {
        merged.out.extend_from_slice(&replies[copied..reply.at]);
        copied = reply.at;
        let reached: u64 = counts.by_ref().take(reply.events).sum();
        merged.integer(reached);
    }
    merged.out.extend_from_slice(&replies[copied..]);
    writer.out = merged.out;
}
