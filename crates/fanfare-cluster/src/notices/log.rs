//! The log of notices: those that this node has published and must still send, and the progress of others. It does no I/O.

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

/// The most bytes of notices that are kept.
const KEPT_BYTES: usize = 64 << 20;
/// The most publishers whose progress is remembered, including dead ones.
const PUBLISHERS: usize = 1024;
/// The shortest time between two requests to one publisher.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// The time that is added to a node's age for its request: it may take so long to arrive.
const SLACK: Duration = Duration::from_secs(1);
/// The most messages, and about the most bytes, of one batch.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// One node's notices.
pub(super) struct Log {
    node: Box<str>,
    /// Distinguishes this process from others of the same name.
    pub(super) run: u64,
    started: Instant,
    /// The latest notices of this node, with the times of publication. The last one has the number before `next`.
    kept: VecDeque<(Instant, Bytes)>,
    kept_bytes: usize,
    next: u64,
    /// The notices below this number have been sent to all nodes.
    pub(super) sent: u64,
    /// The progress of other publishers, by their runs.
    received: AHashMap<u64, Progress>,
    retransmissions: VecDeque<Retransmission>,
}

/// The notices that were received from one process.
struct Progress {
    /// The number of the next notice, once that is known.
    next: Option<u64>,
    last: Instant,
    requested: Option<Instant>,
}

/// The notices from number `from` on, for one node that has missed them.
struct Retransmission {
    node: Box<str>,
    from: u64,
    has_begun: bool,
}

/// Messages to publish in order.
pub(super) struct NoticeBatch {
    pub(super) messages: Vec<Message>,
    /// The new value of [`Log::sent`] after they are published.
    pub(super) sent: Option<u64>,
}

/// The place of a notice, or of a publisher's last notice, in the sequence of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sequence {
    Next,
    /// It was received before.
    Duplicate,
    /// Notices before it are missing.
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
            retransmissions: VecDeque::new(),
        }
    }

    // Publishing.

    /// Appends `notice`. Returns the number of notices that were dropped before they were sent to all nodes.
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

    /// Returns the number of the first notice that is kept.
    fn first(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    /// Queues the notices that another node has missed, unless a retransmission to it is queued.
    pub(super) fn retransmit(&mut self, missed: MissedNotices, now: Instant) {
        let is_queued = |queued: &Retransmission| queued.node == missed.node;
        if missed.run == self.run && !self.retransmissions.iter().any(is_queued) {
            let age = Duration::from_millis(missed.age);
            self.retransmissions.push_back(Retransmission {
                from: missed.next.unwrap_or_else(|| self.published_within(age, now)),
                node: missed.node,
                has_begun: false,
            });
        }
    }

    /// Returns the number of the first notice that was published after a node of this age had started.
    fn published_within(&self, age: Duration, now: Instant) -> u64 {
        let limit = age.saturating_add(SLACK);
        let older = self
            .kept
            .partition_point(|(published, _)| now.duration_since(*published) > limit);
        self.first() + older as u64
    }

    /// Returns the next messages; `None` if all are sent. If a retransmission fails, it is lost: its receiver requests it again.
    pub(super) fn batch(&mut self) -> Option<NoticeBatch> {
        let mut messages = Vec::new();
        if let Some(mut retransmission) = self.retransmissions.pop_front() {
            let subject = Subject::Node(retransmission.node.clone());
            if !retransmission.has_begun {
                retransmission.has_begun = true;
                retransmission.from = retransmission.from.max(self.first());
                let next = NodeMessage::NextNotice {
                    run: self.run,
                    number: retransmission.from,
                };
                messages.push(next.to(subject.clone(), None));
            }
            retransmission.from = self.write(&subject, retransmission.from, &mut messages);
            if retransmission.from < self.next {
                self.retransmissions.push_front(retransmission);
            }
            return Some(NoticeBatch { messages, sent: None });
        }
        if self.sent == self.next {
            return None;
        }
        let sent = Some(self.write(&Subject::Nodes, self.sent, &mut messages));
        Some(NoticeBatch { messages, sent })
    }

    /// Appends the notices from number `from` on to `messages`, up to a full batch. Returns the number of the first that does not fit.
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

    // Receiving.

    /// Notes that notice `number` of process `run` arrived.
    pub(super) fn receive(&mut self, run: u64, number: u64, now: Instant) -> Sequence {
        let Some(progress) = self.progress(run, now) else {
            return Sequence::Duplicate;
        };
        // No notice before the first one of a process can be missing.
        let next = progress.next.or((number == 0).then_some(0));
        if next == Some(number) {
            progress.next = Some(number + 1);
            return Sequence::Next;
        }
        if next.is_some_and(|next| number < next) {
            Sequence::Duplicate
        } else {
            Sequence::Gap
        }
    }

    /// Notes that process `run` has sent all notices below `next`.
    pub(super) fn reported(&mut self, run: u64, next: u64, now: Instant) -> Sequence {
        let Some(progress) = self.progress(run, now) else {
            return Sequence::Duplicate;
        };
        if next == 0 {
            progress.next.get_or_insert(0);
        }
        if progress.next.is_some_and(|own| next <= own) {
            Sequence::Duplicate
        } else {
            Sequence::Gap
        }
    }

    /// Notes that the notices of process `run` below `number` are not to be awaited.
    pub(super) fn skip(&mut self, run: u64, number: u64, now: Instant) {
        if let Some(progress) = self.progress(run, now) {
            progress.next = progress.next.max(Some(number));
        }
    }

    /// Returns the request to process `run` for its missing notices, unless one was made within [`REQUEST_INTERVAL`].
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

    /// Returns the progress of process `run`; `None` for this process, whose notices are delivered when they are published.
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
