//! What was told and heard, and what is still to be sent.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use fanfare_core::MAX_NOTICES;

use crate::redis::control::{self, Control, Hello, Place};

/// Bytes of notices that are kept.
const KEPT_BYTES: usize = 64 << 20;
/// Nodes whose notices are remembered as heard, those that are gone included.
const TELLERS: usize = 1024;
/// Between two complaints to one node about what is missing.
const COMPLAINT: Duration = Duration::from_millis(100);
/// How much older than a node what it should hear may seem: the time that its greeting takes.
const SLACK: Duration = Duration::from_secs(1);
/// Messages sent at once, and bytes of them.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// One node's book.
pub(super) struct Book {
    node: Box<str>,
    /// Tells this process from others of the same name.
    run: u64,
    started: Instant,
    /// The latest notices that this node told; the last has the number before `next`.
    kept: VecDeque<(Instant, Bytes)>,
    kept_bytes: usize,
    next: u64,
    /// All were told what comes before this number.
    sent: u64,
    /// What was heard of others, by their runs.
    heard: AHashMap<u64, Heard>,
    /// Who has missed something.
    behind: AHashMap<Box<str>, Missing>,
    /// Who has told something that this node has missed, and in which run.
    greet: AHashSet<(Box<str>, u64)>,
    greet_all: bool,
}

struct Heard {
    next: u64,
    last: Instant,
    complained: Option<Instant>,
}

/// What a node has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing {
    /// It has heard what comes before this number.
    after: u64,
    /// It should hear what has this number, and all that follows.
    from: u64,
}

/// Messages to be published in order, and what is to be taken up again if that fails.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<(String, Vec<u8>)>,
    bytes: usize,
    sent: Option<u64>,
    behind: Vec<(Box<str>, Missing)>,
    greet: Vec<(Box<str>, u64)>,
    greet_all: bool,
}

impl Book {
    pub(super) fn new(node: &str, run: u64, now: Instant) -> Self {
        Self {
            node: node.into(),
            run,
            started: now,
            kept: VecDeque::new(),
            kept_bytes: 0,
            next: 0,
            sent: 0,
            heard: AHashMap::new(),
            behind: AHashMap::new(),
            greet: AHashSet::new(),
            greet_all: false,
        }
    }

    // What this node tells.

    pub(super) fn tell(&mut self, notice: Bytes, now: Instant) -> usize {
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

    // What this node hears.

    pub(super) fn hear(&mut self, place: &Place, now: Instant) -> bool {
        if place.run == self.run {
            // It heard that when it told it.
            return false;
        }
        if !self.heard.contains_key(&place.run) {
            self.forget_tellers();
        }
        let heard = self.heard.entry(place.run).or_insert(Heard {
            next: 0,
            last: now,
            complained: None,
        });
        heard.last = now;
        if place.next <= heard.next {
            return false;
        }
        if place.after <= heard.next {
            heard.next = place.next;
            return true;
        }
        let complained = heard.complained;
        if complained.is_none_or(|at| now.duration_since(at) >= COMPLAINT) {
            heard.complained = Some(now);
            self.greet.insert((place.node.clone(), place.run));
        }
        false
    }

    fn forget_tellers(&mut self) {
        while self.heard.len() >= TELLERS {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.last);
            let Some(run) = oldest.map(|(run, _)| *run) else {
                return;
            };
            self.heard.remove(&run);
        }
    }

    pub(super) fn meet(&mut self, hello: &Hello, now: Instant) {
        if hello.run == self.run {
            return;
        }
        let known = hello.heard.iter().find(|(run, _)| *run == self.run);
        let missing = match known {
            Some(&(_, next)) => Missing {
                after: next,
                from: next,
            },
            None => Missing {
                after: 0,
                from: self.told_within(Duration::from_millis(hello.age), now),
            },
        };
        if missing.after < self.next {
            self.behind.insert(hello.node.clone(), missing);
        }
        let heard = self.heard.get(&hello.run).map_or(0, |heard| heard.next);
        if hello.next > heard {
            self.greet.insert((hello.node.clone(), hello.run));
        }
    }

    /// The number of the first notice that was told when a node of this age was there.
    fn told_within(&self, age: Duration, now: Instant) -> u64 {
        let limit = age.saturating_add(SLACK);
        let older = self
            .kept
            .partition_point(|(told, _)| now.duration_since(*told) > limit);
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
            self.sent = self.write(control::NODES, missing, &mut batch);
        }
        // After the repetitions, so that nobody complains of what is on its way to him.
        for (node, run) in std::mem::take(&mut self.greet) {
            let heard = self.heard.get(&run).map(|heard| (run, heard.next));
            let hello = self.hello(heard.into_iter().collect(), now);
            batch.push(control::channel_of(&node), hello.write(None));
            batch.greet.push((node, run));
        }
        if std::mem::take(&mut self.greet_all) {
            let heard = self.heard.iter().map(|(run, heard)| (*run, heard.next));
            let hello = self.hello(heard.collect(), now);
            batch.push(control::NODES.to_owned(), hello.write(None));
            batch.greet_all = true;
        }
        (!batch.messages.is_empty()).then_some(batch)
    }

    /// Writes what `node` has missed, or as much of it as there is room for.
    fn repeat(&mut self, node: &str, missing: Missing, batch: &mut Batch) {
        let channel = control::channel_of(node);
        if missing.from >= self.next {
            let skip = self.place(missing.after, self.next);
            batch.push(channel, Control::Skip(skip).write(None));
            return;
        }
        let reached = self.write(&channel, missing, batch);
        if reached < self.next {
            let rest = Missing {
                after: reached,
                from: reached,
            };
            let rest = if reached == missing.from { missing } else { rest };
            self.behind.insert(node.into(), rest);
        }
    }

    /// Writes notices for `channel` as long as there is room; the number of the first that was not written.
    fn write(&self, channel: &str, missing: Missing, batch: &mut Batch) -> u64 {
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
            batch.push(channel.to_owned(), Control::Tell(place).write(Some(notice)));
            after = number;
        }
        number
    }

    fn place(&self, after: u64, next: u64) -> Place {
        Place {
            node: self.node.clone(),
            run: self.run,
            after,
            next,
        }
    }

    fn hello(&self, heard: Vec<(u64, u64)>, now: Instant) -> Control {
        let age = now.duration_since(self.started).as_millis();
        Control::Hello(Hello {
            node: self.node.clone(),
            run: self.run,
            next: self.next,
            age: u64::try_from(age).unwrap_or(u64::MAX),
            heard,
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

    fn push(&mut self, channel: String, message: Vec<u8>) {
        self.bytes += message.len();
        self.messages.push((channel, message));
    }
}

#[cfg(test)]
mod tests;
