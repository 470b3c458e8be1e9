//! What was published and received, and what is still to be sent.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{MAX_NOTICES, millis};

use crate::{
    messages::{MissedNotices, NodeMessage},
    transport::{Message, Subject},
};

/// Bytes of notices that are kept.
const KEPT_BYTES: usize = 64 << 20;
/// Publishers whose progress is remembered, those that are gone included.
const PUBLISHERS: usize = 1024;
/// Between two requests to one node for what is missing.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// How much older than a node a notice that it should receive may seem: the time that its request takes.
const SLACK: Duration = Duration::from_secs(1);
/// Messages sent at once, and bytes of them.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// One node's notices.
pub(super) struct Log {
    node: Box<str>,
    /// Distinguishes this process from others of the same name.
    pub(super) run: u64,
    started: Instant,
    /// The latest notices that this node published; the last has the number before `next`.
    kept: VecDeque<(Instant, Bytes)>,
    kept_bytes: usize,
    next: u64,
    /// Those below this number have been sent to all nodes.
    pub(super) sent: u64,
    /// What was received of others, by their runs.
    received: AHashMap<u64, Progress>,
    repetitions: VecDeque<Repetition>,
}

struct Progress {
    /// The number of the notice that should come next, once that is known.
    next: Option<u64>,
    last: Instant,
    requested: Option<Instant>,
}

/// What is to be sent once more to one node.
struct Repetition {
    node: Box<str>,
    from: u64,
    has_begun: bool,
}

/// Messages to publish in order.
pub(super) struct NoticeBatch {
    pub(super) messages: Vec<Message>,
    /// The number up to which notices have been sent to all nodes then.
    pub(super) sent: Option<u64>,
}

/// Whether a notice, or all that were published, can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Next,
    /// Nothing new.
    Known,
    /// Others before it are missing.
    Gap,
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
            repetitions: VecDeque::new(),
        }
    }

    // What this node publishes.

    /// Adds `notice`. Returns how many notices were dropped that have not been sent to all nodes.
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

    /// Another node has missed notices.
    pub(super) fn missed(&mut self, missed: MissedNotices, now: Instant) {
        let is_waiting = |waiting: &Repetition| waiting.node == missed.node;
        if missed.run == self.run && !self.repetitions.iter().any(is_waiting) {
            let age = Duration::from_millis(missed.age);
            self.repetitions.push_back(Repetition {
                from: missed.next.unwrap_or_else(|| self.published_within(age, now)),
                node: missed.node,
                has_begun: false,
            });
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

    /// The next messages; none when all is sent. What is not sent is lost: its receiver finds the gap.
    pub(super) fn batch(&mut self) -> Option<NoticeBatch> {
        let mut messages = Vec::new();
        if let Some(mut repetition) = self.repetitions.pop_front() {
            let subject = Subject::Node(repetition.node.clone());
            if !repetition.has_begun {
                repetition.has_begun = true;
                repetition.from = repetition.from.max(self.first());
                let next = NodeMessage::NextNotice {
                    run: self.run,
                    number: repetition.from,
                };
                messages.push(next.to(subject.clone(), None));
            }
            repetition.from = self.write(&subject, repetition.from, &mut messages);
            if repetition.from < self.next {
                self.repetitions.push_front(repetition);
            }
            return Some(NoticeBatch { messages, sent: None });
        }
        if self.sent == self.next {
            return None;
        }
        let sent = self.write(&Subject::Nodes, self.sent, &mut messages);
        let sent = Some(sent);
        Some(NoticeBatch { messages, sent })
    }

    /// Writes notices from number `from` on as long as there is room. Returns the number of the first that was not written.
    fn write(&self, subject: &Subject, from: u64, messages: &mut Vec<Message>) -> u64 {
        let mut number = from.max(self.first());
        let skipped = usize::try_from(number - self.first()).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for (_, notice) in self.kept.iter().skip(skipped) {
            if messages.len() >= BATCH || bytes >= BATCH_BYTES {
                break;
            }
            bytes += notice.len();
            let message = NodeMessage::Notice {
                node: self.node.clone(),
                run: self.run,
                number,
            };
            messages.push(message.to(subject.clone(), Some(notice)));
            number += 1;
        }
        number
    }

    // What this node receives.

    /// Notice `number` of process `run` arrived.
    pub(super) fn receive(&mut self, run: u64, number: u64, now: Instant) -> Arrival {
        let Some(progress) = self.progress(run, now) else {
            return Arrival::Known;
        };
        // The very first notice of a process is not old.
        let next = progress.next.or((number == 0).then_some(0));
        if next == Some(number) {
            progress.next = Some(number + 1);
            return Arrival::Next;
        }
        if next.is_some_and(|next| number < next) {
            Arrival::Known
        } else {
            Arrival::Gap
        }
    }

    /// Process `run` has sent all notices below `next` by now.
    pub(super) fn reported(&mut self, run: u64, next: u64, now: Instant) -> Arrival {
        let Some(progress) = self.progress(run, now) else {
            return Arrival::Known;
        };
        if next == 0 {
            progress.next.get_or_insert(0);
        }
        if progress.next.is_some_and(|own| next <= own) {
            Arrival::Known
        } else {
            Arrival::Gap
        }
    }

    /// None of those below `number` is missing, or will come.
    pub(super) fn skip(&mut self, run: u64, number: u64, now: Instant) {
        if let Some(progress) = self.progress(run, now) {
            progress.next = progress.next.max(Some(number));
        }
    }

    /// What to ask process `run` for, unless that was done just now.
    pub(super) fn request(&mut self, run: u64, now: Instant) -> Option<NodeMessage> {
        let age = millis(now.duration_since(self.started));
        let node = self.node.clone();
        let progress = self.progress(run, now)?;
        if progress
            .requested
            .is_some_and(|at| now.duration_since(at) < REQUEST_INTERVAL)
        {
            return None;
        }
        progress.requested = Some(now);
        Some(NodeMessage::Missed(MissedNotices {
            node,
            run,
            next: progress.next,
            age,
        }))
    }

    /// What is known of process `run`; `None` for this one, whose notices were delivered when they were published.
    fn progress(&mut self, run: u64, now: Instant) -> Option<&mut Progress> {
        if run == self.run {
            return None;
        }
        if !self.received.contains_key(&run) && self.received.len() >= PUBLISHERS {
            let oldest = self.received.iter().min_by_key(|(_, progress)| progress.last);
            if let Some(oldest) = oldest.map(|(run, _)| *run) {
                self.received.remove(&oldest);
            }
        }
        let progress = self.received.entry(run).or_insert(Progress {
            next: None,
            last: now,
            requested: None,
        });
        progress.last = now;
        Some(progress)
    }
}

#[cfg(test)]
mod tests;
