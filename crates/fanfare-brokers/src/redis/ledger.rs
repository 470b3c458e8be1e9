//! The book of what this node has published and not yet accounted for.
//!
//! Each publication has a number. Redis answers `PUBLISH` with how many listeners got it; each of Fanfare's nodes
//! among them answers with its reach. Listeners of other make never answer: when answers stay out, all nodes are
//! asked to say when they are through ([`Control::Flush`](super::control::Control)), and what has not been answered
//! then will not be. A publication that should come back to this node and does not is handed over directly.
//!
//! Everything happens under one lock, under which the delivery queue is filled too: so the queue's order is the
//! order of publication.

mod entry;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use ahash::AHashMap;
use fanfare_core::{Audience, Event, Interest, Reach};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Shared,
    control::Reached,
    delivery::{Answer, Deliveries, Item},
    held::{Echo, Held, Leaving, Ticket},
    publisher::{Job, Notice},
    recent::Recent,
    subscriptions::Command,
};
use entry::{Batch, Entry, Flush, Here};

/// Between two looks at what is overdue.
const TICK: Duration = Duration::from_millis(25);
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long listeners of other make are remembered, so that a flush follows each publication at once.
const FOREIGN_MEMORY: Duration = Duration::from_secs(60);

/// See the module's words.
pub(super) struct Ledger {
    book: Mutex<Book>,
    deliveries: Deliveries,
    commands: mpsc::UnboundedSender<Command>,
    /// Told when there may be something to wait for.
    busy: Notify,
}

struct Book {
    held: Held,
    next_number: u64,
    entries: AHashMap<u64, Entry>,
    /// What Redis has answered, and when; those that are complete drop out at the next look.
    answered: VecDeque<(Instant, u64)>,
    batches: AHashMap<u64, Batch>,
    flushes: Vec<Flush>,
    /// The highest number that a flush was sent after.
    flushed_to: u64,
    foreign_until: Option<Instant>,
    /// Handed over without an echo.
    direct: Recent,
}

impl Ledger {
    pub(super) fn new(deliveries: Deliveries, commands: mpsc::UnboundedSender<Command>) -> Self {
        // A node that comes back under its old name must not take its predecessor's echoes for its own.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let start = u64::try_from(now.as_micros()).unwrap_or(0);
        Self {
            book: Mutex::new(Book {
                held: Held::default(),
                next_number: start,
                entries: AHashMap::new(),
                answered: VecDeque::new(),
                batches: AHashMap::new(),
                flushes: Vec::new(),
                flushed_to: 0,
                foreign_until: None,
                direct: Recent::default(),
            }),
            deliveries,
            commands,
            busy: Notify::new(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What this node holds.

    /// This node holds `interest`; the receiver hears when that is in force, if it is worth waiting for.
    pub(super) fn subscribe(&self, interest: Interest) -> Option<oneshot::Receiver<()>> {
        let mut book = self.book();
        let ticket = book.held.hold(interest.clone());
        if !book.held.hearing {
            return None;
        }
        let (done, in_force) = oneshot::channel();
        // Under the lock, so that commands come in the order of calls.
        let _ = self.commands.send(Command::Subscribe(interest, ticket, done));
        Some(in_force)
    }

    /// This node does not hold `interest` any more.
    pub(super) fn unsubscribe(&self, interest: Interest) {
        let mut book = self.book();
        book.held.release(&interest);
        if book.held.hearing {
            let _ = self.commands.send(Command::Unsubscribe(interest));
        }
    }

    /// The listening connection is there and hears what is for everyone; answers what to subscribe to on it.
    pub(super) fn connected(&self) -> Vec<(Interest, Ticket)> {
        self.book().held.connected()
    }

    /// Redis has confirmed these.
    pub(super) fn confirmed(&self, requests: &[(Interest, Ticket)]) {
        self.book().held.confirmed(requests);
    }

    /// Every channel's events come by the pattern, and are taken from there.
    pub(super) fn pattern_in_force(&self) {
        self.book().held.pattern_in_force();
    }

    /// Ceases to rely on the pattern, if that can be.
    pub(super) fn leave_pattern(&self) -> Leaving {
        self.book().held.leave_pattern()
    }

    /// Whether somebody here should have what is for `audience`.
    pub(super) fn wants(&self, audience: &Audience) -> bool {
        self.book().held.echo(audience) != Echo::Unwanted
    }

    /// Whether the listening connection is there.
    pub(super) fn is_hearing(&self) -> bool {
        self.book().held.hearing
    }

    /// The listening connection was lost: no echo and no answer will come.
    pub(super) fn lost(&self) {
        let mut book = self.book();
        book.held.hearing = false;
        for number in book.open() {
            book.miss(number, &self.deliveries);
            book.give_up(number, true);
        }
        book.flushes.clear();
    }

    // The way of a publication.

    /// Takes `count` numbers in a row; answers the first.
    pub(super) fn numbers(&self, count: usize) -> u64 {
        let mut book = self.book();
        let first = book.next_number;
        book.next_number += count as u64;
        first
    }

    /// Enters a job's events, numbered from `first`, which are published next.
    pub(super) fn enter(&self, first: u64, job: Job) {
        let mut book = self.book();
        book.batches.insert(first, Batch::new(job.events.len(), job.done));
        for (index, event) in job.events.into_iter().enumerate() {
            let number = first + index as u64;
            let echo = book.held.echo(&event.audience);
            let entry = Entry::new(event, (first, index), echo == Echo::Expected);
            book.entries.insert(number, entry);
            if echo == Echo::Uncertain {
                book.hand_over(number, &self.deliveries);
            }
            if !book.held.hearing {
                book.give_up(number, true);
            }
        }
    }

    /// What Redis answered to `PUBLISH`: the number of listeners, or `None` if it did not or it is not known.
    pub(super) fn published(&self, answers: &[(u64, Option<u32>)]) {
        if answers.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut book = self.book();
        // What was published before the first thing that failed may still be on its way back. It must not be
        // overtaken by what is handed over now.
        let failed = answers.iter().filter(|(_, listeners)| listeners.is_none());
        if let Some(last) = failed.map(|(number, _)| *number).max() {
            for number in book.open().into_iter().take_while(|number| *number < last) {
                book.miss(number, &self.deliveries);
            }
        }
        for &(number, listeners) in answers {
            if listeners.is_none() {
                book.hand_over(number, &self.deliveries);
                book.give_up(number, true);
            }
            if let Some(entry) = book.entries.get_mut(&number) {
                entry.listeners = Some(listeners.unwrap_or(0));
                book.answered.push_back((now, number));
            }
            book.settle(number);
        }
        drop(book);
        self.busy.notify_one();
    }

    /// The ids of these are shared with no other node.
    pub(super) fn unshared(&self, numbers: &[u64]) {
        if numbers.is_empty() {
            return;
        }
        let mut book = self.book();
        for number in numbers {
            if let Some(entry) = book.entries.get_mut(number) {
                entry.receipt.degraded = true;
            }
        }
    }

    /// Publication `number` came back.
    pub(super) fn echo(&self, number: u64, event: Event) {
        let mut guard = self.book();
        let book = &mut *guard;
        let is_known = if let Some(entry) = book.entries.get_mut(&number) {
            entry.heard += 1;
            let unwanted = entry.here == Here::Unwanted && book.held.echo(&event.audience) == Echo::Unwanted;
            unwanted || entry.take_event().is_none()
        } else {
            book.direct.contains(number)
        };
        if is_known {
            book.settle(number);
        } else {
            self.deliveries.push(Item::Event(event, Answer::Own(number)));
        }
    }

    /// A node that Redis counted among the listeners of these had no use for them, or had them another way.
    pub(super) fn declined(&self, numbers: &[u64]) {
        let mut book = self.book();
        for &number in numbers {
            if let Some(entry) = book.entries.get_mut(&number) {
                entry.heard += 1;
            }
            book.settle(number);
        }
    }

    /// These reached this node's connections.
    pub(super) fn delivered(&self, reached: &[(u64, Reach)]) {
        let mut book = self.book();
        for &(number, reach) in reached {
            if let Some(entry) = book.entries.get_mut(&number) {
                entry.here = Here::Done;
                entry.add(reach);
            }
            book.settle(number);
        }
    }

    /// These reached another node's connections.
    pub(super) fn reached(&self, reached: &[Reached]) {
        let mut book = self.book();
        for &one in reached {
            let number = one.number();
            if let Some(entry) = book.entries.get_mut(&number) {
                entry.heard += 1;
                entry.add(one.reach());
            }
            book.settle(number);
        }
    }

    // When answers stay out.

    /// A token for a flush to send right behind the events, if listeners of other make were found lately.
    pub(super) fn flush_at_once(&self) -> Option<u64> {
        let mut book = self.book();
        let lately = book.foreign_until.is_some_and(|until| Instant::now() < until);
        lately.then(|| book.new_flush())
    }

    /// So many nodes were asked (`None`: it is not known).
    pub(super) fn flush_sent(&self, token: u64, nodes: Option<u32>) {
        let mut book = self.book();
        match nodes {
            Some(nodes) => {
                if let Some(flush) = book.flush(token) {
                    flush.nodes = Some(nodes);
                }
                book.settle_flush(token, &self.deliveries);
            }
            None => book.flushes.retain(|flush| flush.token != token),
        }
    }

    /// One node more is through.
    pub(super) fn flushed(&self, token: u64) {
        let mut book = self.book();
        if let Some(flush) = book.flush(token) {
            flush.heard += 1;
        }
        book.settle_flush(token, &self.deliveries);
    }

    /// Gives up what is overdue; answers a token if a flush should be sent, and whether anything is still open.
    fn look(&self, now: Instant) -> (Option<u64>, bool) {
        let mut book = self.book();
        while let Some((since, number)) = book.answered.front().copied() {
            if book.entries.contains_key(&number) {
                if now.duration_since(since) < PATIENCE {
                    break;
                }
                book.miss(number, &self.deliveries);
                book.give_up(number, true);
            }
            book.answered.pop_front();
        }
        book.flushes
            .retain(|flush| now.duration_since(flush.since) < PATIENCE);
        let overdue = book
            .answered
            .iter()
            .take_while(|(since, _)| now.duration_since(*since) >= TICK)
            .any(|(_, number)| *number > book.flushed_to && book.entries.contains_key(number));
        let token = overdue.then(|| book.new_flush());
        (token, !book.answered.is_empty())
    }
}

/// Looks after what is overdue while anything is open.
pub(super) async fn sweep(shared: Arc<Shared>) {
    loop {
        shared.ledger.busy.notified().await;
        loop {
            tokio::time::sleep(TICK).await;
            let (token, busy) = shared.ledger.look(Instant::now());
            if let Some(token) = token {
                shared.notify(Notice::flush(&shared.node_id, token));
            }
            if !busy {
                break;
            }
        }
    }
}

impl Book {
    /// The numbers of what is open, in the order of publication.
    fn open(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.entries.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Hands publication `number` to this node without an echo, unless that was done.
    fn hand_over(&mut self, number: u64, deliveries: &Deliveries) {
        if let Some(event) = self.entries.get_mut(&number).and_then(Entry::take_event) {
            self.direct.insert(number, Instant::now());
            deliveries.push(Item::Event(event, Answer::Own(number)));
        }
    }

    /// No echo of `number` has come by now: if one was expected, what it would have brought is handed over.
    fn miss(&mut self, number: u64, deliveries: &Deliveries) {
        if self
            .entries
            .get(&number)
            .is_some_and(|entry| entry.here == Here::Expected)
        {
            self.hand_over(number, deliveries);
        }
    }

    /// Waits for no more answers about `number`.
    fn give_up(&mut self, number: u64, degraded: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.given_up = true;
            entry.receipt.degraded |= degraded;
            self.settle(number);
        }
    }

    /// Closes publication `number` if all about it is known.
    fn settle(&mut self, number: u64) {
        if !self.entries.get(&number).is_some_and(Entry::is_complete) {
            return;
        }
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        let (id, index) = entry.batch;
        if let Some(batch) = self.batches.get_mut(&id)
            && batch.put(index, entry.receipt)
            && let Some(batch) = self.batches.remove(&id)
        {
            batch.finish();
        }
    }

    fn new_flush(&mut self) -> u64 {
        let token = self.next_number;
        self.next_number += 1;
        self.flushed_to = token;
        self.flushes.push(Flush {
            token,
            since: Instant::now(),
            nodes: None,
            heard: 0,
        });
        token
    }

    fn flush(&mut self, token: u64) -> Option<&mut Flush> {
        self.flushes.iter_mut().find(|flush| flush.token == token)
    }

    /// If all nodes are through: what is still unanswered went to listeners of other make.
    fn settle_flush(&mut self, token: u64, deliveries: &Deliveries) {
        let all = self
            .flush(token)
            .is_some_and(|flush| flush.nodes.is_some_and(|nodes| flush.heard >= nodes));
        if !all {
            return;
        }
        self.flushes.retain(|flush| flush.token != token);
        let unanswered = |(number, entry): &(&u64, &Entry)| **number < token && entry.listeners.is_some();
        let mut numbers: Vec<u64> = self
            .entries
            .iter()
            .filter(unanswered)
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_unstable();
        for number in numbers {
            self.foreign_until = Some(Instant::now() + FOREIGN_MEMORY);
            self.miss(number, deliveries);
            self.give_up(number, false);
        }
    }
}

#[cfg(test)]
mod tests;
