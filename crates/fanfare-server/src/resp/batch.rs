//! The publications of one read: published together, each answered at its place among the replies.

use std::time::SystemTime;

use fanfare_core::{Event, Receipt};

use super::{
    door::Host,
    writer::{Protocol, Writer},
};

struct Due {
    /// The offset of its answer in the replies.
    at: usize,
    events: usize,
}

pub(super) struct Batch {
    pub(super) now: SystemTime,
    events: Vec<Event>,
    due: Vec<Due>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            now: SystemTime::now(),
            events: Vec::new(),
            due: Vec::new(),
        }
    }

    /// Lets `read` add the events of one `PUBLISH`, whose answer belongs at `at` in the replies, even if `read` fails.
    pub(super) fn add<T>(&mut self, at: usize, read: impl FnOnce(&mut Vec<Event>) -> T) -> T {
        let before = self.events.len();
        let done = read(&mut self.events);
        let events = self.events.len() - before;
        self.due.push(Due { at, events });
        done
    }

    pub(super) fn len(&self) -> usize {
        self.events.len().max(self.due.len())
    }

    /// Publishes all and writes the answers to their places in `writer`.
    pub(super) async fn settle(&mut self, host: &dyn Host, writer: &mut Writer) {
        if self.due.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let receipts = if events.is_empty() {
            Vec::new()
        } else {
            host.publish(events).await
        };
        weave(&self.due, &receipts, writer);
        self.due.clear();
    }

    pub(super) fn shrink(&mut self) {
        self.due = Vec::new();
    }
}

/// Inserts each answer into the replies: the number of connections that the publication's events reached.
fn weave(due: &[Due], receipts: &[Receipt], writer: &mut Writer) {
    let replies = &writer.out;
    let mut woven = Writer {
        out: Vec::with_capacity(replies.len() + due.len() * 6),
        protocol: Protocol::default(),
    };
    let mut counts = receipts.iter().map(|receipt| receipt.reach.queued);
    let mut copied = 0;
    for answer in due {
        woven.out.extend_from_slice(&replies[copied..answer.at]);
        copied = answer.at;
        let reached: u64 = counts.by_ref().take(answer.events).sum();
        woven.integer(reached);
    }
    woven.out.extend_from_slice(&replies[copied..]);
    writer.out = woven.out;
}
