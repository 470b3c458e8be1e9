//! What was published and received, and what is still to be sent.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use fanfare_core::MAX_NOTICES;

use crate::{
    messages::{Hello, NodeMessage, NoticePlace},
    transport::{Message, Subject},
};

/// Bytes of notices that are kept.
const KEPT_BYTES: usize = 64 << 20;
/// Publishers whose progress is remembered, those that are gone included.
const PUBLISHERS: usize = 1024;
/// Between two requests to one node for what is missing.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// How much older than a node a notice that it should receive may seem: the time that its greeting takes.
const SLACK: Duration = Duration::from_secs(1);
/// Messages sent at once, and bytes of them.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// One node's notices.
pub(super) struct Log {
    node: Box<str>,
    /// Distinguishes this process from others of the same name.
    run: u64,
    started: Instant,
    /// The latest notices that this node published; the last has the number before `next`.
    kept: VecDeque<(Instant, Bytes)>,
    kept_bytes: usize,
    next: u64,
    /// Those below this number have been sent to all nodes.
    sent: u64,
    /// What was received of others, by their runs.
    received: AHashMap<u64, Progress>,
    /// The nodes that have missed something.
    behind: AHashMap<Box<str>, Missing>,
    /// The nodes, and their runs, whose notices this node has missed.
    greet: AHashSet<(Box<str>, u64)>,
    greet_all: bool,
}

struct Progress {
    next: u64,
    last: Instant,
    requested: Option<Instant>,
}

/// What a node has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    /// It has received those below this number.
    after: u64,
    /// It should receive those from this number on.
    from: u64,
}

/// Messages to publish in order, and what to send again if that fails.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    bytes: usize,
    sent: Option<u64>,
    behind: Vec<(Box<str>, Missing)>,
    greet: Vec<(Box<str>, u64)>,
    greet_all: bool,
}

impl Log {
    pub(super) fn new(node: &str, run: u64, now: Instant) -> Self {
        Self {
            node: node.into(),
            run,
            started: now,
            kept: VecDeque::new(),
            kept_bytes: 0,
            next: 0,
            sent: 0,
            received: AHashMap::new(),
            behind: AHashMap::new(),
            greet: AHashSet::new(),
            greet_all: false,
        }
    }

    // What this node publishes.

    /// Adds `notice`. Returns how many notices were dropped that not all nodes have received.
    pub(super) fn publish(&mut self, notice: Bytes, now: Instant) -> usize {
        let mut dropped = 0;
        self.kept_bytes += notice.len();
        while self.kept.len() >= MAX_NOTICES || self.kept_bytes > KEPT_BYTES {
            let first = self.first();
            let Some((_, oldest)) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.len();
            dropped += usize::from(first >= self.sent);
        }
        self.kept.push_back((now, notice));
        self.next += 1;
        dropped
    }

    /// The number of the first notice that is kept.
    fn first(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    // What this node receives.

    /// A notice arrived, or the message that none is missing. Returns whether it is the next one.
    pub(super) fn receive(&mut self, place: &NoticePlace, now: Instant) -> bool {
        if place.run == self.run {
            // It was delivered when it was published.
            return false;
        }
        if !self.received.contains_key(&place.run) {
            self.forget_publishers();
        }
        let progress = self.received.entry(place.run).or_insert(Progress {
            next: 0,
            last: now,
            requested: None,
        });
        progress.last = now;
        if place.next <= progress.next {
            return false;
        }
        if place.after <= progress.next {
            progress.next = place.next;
            return true;
        }
        let requested = progress.requested;
        if requested.is_none_or(|at| now.duration_since(at) >= REQUEST_INTERVAL) {
            progress.requested = Some(now);
            self.greet.insert((place.node.clone(), place.run));
        }
        false
    }

    fn forget_publishers(&mut self) {
        while self.received.len() >= PUBLISHERS {
            let oldest = self.received.iter().min_by_key(|(_, progress)| progress.last);
            let Some(run) = oldest.map(|(run, _)| *run) else {
                return;
            };
            self.received.remove(&run);
        }
    }

    /// Another node begins to receive, or has missed a notice.
    pub(super) fn greeted(&mut self, hello: &Hello, now: Instant) {
        if hello.run == self.run {
            return;
        }
        let known = hello.received.iter().find(|(run, _)| *run == self.run);
        let missing = match known {
            Some(&(_, next)) => Missing {
                after: next,
                from: next,
            },
            None => Missing {
                after: 0,
                from: self.published_within(Duration::from_millis(hello.age), now),
            },
        };
        if missing.after < self.next {
            self.behind.insert(hello.node.clone(), missing);
        }
        let progress = self.received.get(&hello.run).map_or(0, |progress| progress.next);
        if hello.next > progress {
            self.greet.insert((hello.node.clone(), hello.run));
        }
    }

    /// The number of the first notice that was published when a node of this age was there.
    fn published_within(&self, age: Duration, now: Instant) -> u64 {
        let limit = age.saturating_add(SLACK);
        let older = self
            .kept
            .partition_point(|(published, _)| now.duration_since(*published) > limit);
        self.first() + older as u64
    }

    pub(super) fn greet_all(&mut self) {
        self.greet_all = true;
    }

    // What is to be sent.

    /// The next messages; none when all is sent.
    pub(super) fn batch(&mut self, now: Instant) -> Option<Batch> {
        let mut batch = Batch::default();
        for (node, missing) in std::mem::take(&mut self.behind) {
            self.repeat(&node, missing, &mut batch);
            batch.behind.push((node, missing));
        }
        if self.sent < self.next && batch.has_room() {
            batch.sent = Some(self.sent);
            let missing = Missing {
                after: self.sent,
                from: self.sent,
            };
            self.sent = self.write(&Subject::Nodes, missing, &mut batch);
        }
        // After the repetitions, so that no node requests what is on its way to it.
        for (node, run) in std::mem::take(&mut self.greet) {
            let progress = self.received.get(&run).map(|progress| (run, progress.next));
            let hello = self.hello(progress.into_iter().collect(), now);
            batch.push(hello.to(Subject::Node(node.clone()), None));
            batch.greet.push((node, run));
        }
        if std::mem::take(&mut self.greet_all) {
            let progress = self.received.iter().map(|(run, progress)| (*run, progress.next));
            let hello = self.hello(progress.collect(), now);
            batch.push(hello.to(Subject::Nodes, None));
            batch.greet_all = true;
        }
        (!batch.messages.is_empty()).then_some(batch)
    }

    /// Writes what `node` has missed, or as much of it as there is room for.
    fn repeat(&mut self, node: &str, missing: Missing, batch: &mut Batch) {
        let subject = Subject::Node(node.into());
        if missing.from >= self.next {
            let skip = self.place(missing.after, self.next);
            batch.push(NodeMessage::Skip(skip).to(subject, None));
            return;
        }
        let reached = self.write(&subject, missing, batch);
        if reached < self.next {
            let rest = Missing {
                after: reached,
                from: reached,
            };
            let rest = if reached == missing.from { missing } else { rest };
            self.behind.insert(node.into(), rest);
        }
    }

    /// Writes notices for `subject` as long as there is room; the number of the first that was not written.
    fn write(&self, subject: &Subject, missing: Missing, batch: &mut Batch) -> u64 {
        let Missing { mut after, from } = missing;
        let first = self.first();
        let mut number = from;
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        for (at, (_, notice)) in (first.max(from)..).zip(self.kept.iter().skip(skipped)) {
            if !batch.has_room() {
                break;
            }
            number = at + 1;
            let place = self.place(after, number);
            batch.push(NodeMessage::Notice(place).to(subject.clone(), Some(notice)));
            after = number;
        }
        number
    }

    fn place(&self, after: u64, next: u64) -> NoticePlace {
        NoticePlace {
            node: self.node.clone(),
            run: self.run,
            after,
            next,
        }
    }

    fn hello(&self, received: Vec<(u64, u64)>, now: Instant) -> NodeMessage {
        let age = now.duration_since(self.started).as_millis();
        NodeMessage::Hello(Hello {
            node: self.node.clone(),
            run: self.run,
            next: self.next,
            age: u64::try_from(age).unwrap_or(u64::MAX),
            received,
        })
    }

    /// It is not known whether `batch` was sent: all of it is to be sent again.
    pub(super) fn take_back(&mut self, batch: Batch) {
        self.sent = batch.sent.unwrap_or(self.sent);
        for (node, missing) in batch.behind {
            // Whatever else was noted for this node meanwhile, too much does no harm.
            let noted = self.behind.entry(node).or_insert(missing);
            noted.after = noted.after.min(missing.after);
            noted.from = noted.from.min(missing.from);
        }
        self.greet.extend(batch.greet);
        self.greet_all |= batch.greet_all;
    }
}

impl Batch {
    fn has_room(&self) -> bool {
        self.messages.len() < BATCH && self.bytes < BATCH_BYTES
    }

    fn push(&mut self, message: Message) {
        self.bytes += message.payload.len();
        self.messages.push(message);
    }
}

#[cfg(test)]
mod tests;
