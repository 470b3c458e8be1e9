//! The publications of this node whose receipts are not complete.
//!
//! Each publication has a number. Each node that delivers it replies with its reach. If the transport reports how many listeners
//! it goes to, so many replies are waited for. Other programs that listen never reply, and not all transports count: then all live
//! nodes are asked to reply once they are through ([`Kind::Flush`]), and what has not been answered then will not be. A publication
//! whose echo should arrive at this node and does not is delivered directly. One that is kept is fetched from the journal instead
//! ([`Overdue`]), so that nothing with a lower number comes behind it.
//!
//! Everything happens under one lock, under which the delivery queue is filled, too: so the queue's order is the order of
//! publication.

mod open;
mod publication;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fanfare_core::{Audience, Event, Interest, PublishOptions, Reach, Receipt, history::History, locked};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::{
    deliveries::{Deliveries, Item, ReplyTo},
    interests::{Command, Echo, Interests},
    messages::Reached,
    node::Node,
    outbox::Note,
    peers::Kind,
    requests::{Request, Requests},
};
use open::OpenPublications;
use publication::{Cause, Here, JobReceipts, Listeners, OpenPublication};
pub(crate) use publication::{Overdue, SendReport};

/// Between two checks for what is overdue.
const TICK: Duration = Duration::from_millis(25);
/// How long replies are waited for, if no flush could be sent.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a flush goes on following each publication at once after one was needed.
const FLUSH_MEMORY: Duration = Duration::from_secs(60);

/// What one caller wants published.
pub(crate) struct Job {
    pub(crate) events: Vec<Event>,
    pub(crate) options: PublishOptions,
    pub(crate) done: oneshot::Sender<Vec<Receipt>>,
}

/// See the module's documentation.
pub(crate) struct Receipts {
    open: Mutex<OpenPublications>,
    deliveries: Deliveries,
    commands: mpsc::UnboundedSender<Command>,
    /// Notified when there may be something to wait for.
    busy: Notify,
}

impl Receipts {
    /// `overdue` takes what is to be fetched from the journal.
    pub(crate) fn new(
        deliveries: Deliveries,
        commands: mpsc::UnboundedSender<Command>,
        overdue: mpsc::UnboundedSender<Overdue>,
    ) -> Self {
        Self {
            open: Mutex::new(OpenPublications::new(overdue)),
            deliveries,
            commands,
            busy: Notify::new(),
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenPublications> {
        locked(&self.open)
    }

    // What this node holds.

    /// This node holds `interest`. The receiver resolves when that is in force; `None` while the transport is away.
    pub(crate) fn subscribe(&self, interest: Interest) -> Option<oneshot::Receiver<()>> {
        let mut open = self.open();
        let ticket = open.interests.hold(interest.clone());
        if !open.interests.receiving {
            return None;
        }
        let (done, in_force) = oneshot::channel();
        // Under the lock, so that commands are sent in the order of calls.
        let _ = self.commands.send(Command::Subscribe(interest, ticket, done));
        Some(in_force)
    }

    /// This node does not hold `interest` any more.
    pub(crate) fn unsubscribe(&self, interest: Interest) {
        let mut open = self.open();
        open.interests.release(&interest);
        if open.interests.receiving {
            let _ = self.commands.send(Command::Unsubscribe(interest));
        }
    }

    /// What this node wants to receive, for a look or a change.
    pub(crate) fn with_interests<T>(&self, work: impl FnOnce(&mut Interests) -> T) -> T {
        work(&mut self.open().interests)
    }

    /// Whether a connection here should receive what is for `audience`.
    pub(crate) fn wants(&self, audience: &Audience) -> bool {
        self.open().interests.echo(audience) != Echo::Unwanted
    }

    /// Whether this node receives all channels.
    pub(crate) fn wants_all_channels(&self) -> bool {
        self.open().interests.holds(&Interest::AllChannels)
    }

    /// How many receipts were degraded, by cause.
    pub(crate) fn degraded(&self) -> Vec<(&'static str, u64)> {
        Cause::NAMES.into_iter().zip(self.open().degraded).collect()
    }

    /// The receiving connection was lost: no echo and no reply will arrive.
    pub(crate) fn lost(&self) {
        let mut open = self.open();
        open.interests.disconnected();
        for number in open.numbers() {
            open.miss(number, &self.deliveries);
            open.give_up(number, Some(Cause::Away));
        }
    }

    // The way of a publication.

    /// Enters a job's events, numbered from `first`, which are published next.
    pub(crate) fn enter(&self, first: u64, job: Job, any_node_missing: bool) {
        let mut open = self.open();
        let cause = if open.interests.receiving {
            any_node_missing.then_some(Cause::NodeMissing)
        } else {
            Some(Cause::Away)
        };
        open.batches
            .insert(first, JobReceipts::new(job.events.len(), job.done));
        for (index, event) in job.events.into_iter().enumerate() {
            let number = first + index as u64;
            let echo = open.interests.echo(&event.audience);
            let mut publication = OpenPublication::new(event, (first, index), echo != Echo::Unwanted);
            publication.is_uncertain = echo == Echo::Uncertain;
            publication.cause = cause;
            // Then only this node's own delivery is waited for.
            publication.given_up = !job.options.receipt;
            let wants_place = publication.wants_place();
            open.publications.insert(number, publication);
            // One that is to be kept waits for its number: what has lower ones comes before it.
            if echo == Echo::Uncertain && !wants_place {
                open.deliver(number, &self.deliveries);
            }
            if !open.interests.receiving {
                open.give_up(number, None);
            }
        }
    }

    /// What the transport reports of each publication. Returns whether to send a flush now.
    pub(crate) fn published(&self, reports: &[SendReport]) -> bool {
        if reports.is_empty() {
            return false;
        }
        let now = Instant::now();
        let mut open = self.open();
        for report in reports {
            if report.is_node_missing {
                open.degrade(report.number, Cause::NodeMissing);
            }
            if !report.is_id_shared {
                open.degrade(report.number, Cause::IdsNotShared);
            }
            if let Some(publication) = open.publications.get_mut(&report.number) {
                publication.position = report.position;
            }
        }
        // What was published before the last failure may still be on its way back. What is delivered directly now must
        // not overtake it.
        let failed = reports
            .iter()
            .filter(|report| report.listeners == Listeners::Unpublished);
        if let Some(last) = failed.map(|report| report.number).max() {
            for number in open.numbers().into_iter().take_while(|number| *number < last) {
                open.miss(number, &self.deliveries);
            }
        }
        for report in reports {
            let (number, mut listeners) = (report.number, report.listeners);
            if listeners == Listeners::Unpublished {
                open.deliver(number, &self.deliveries);
                open.degrade(number, Cause::Away);
                listeners = Listeners::Counted(0);
            }
            if let Some(publication) = open.publications.get_mut(&number) {
                publication.listeners = listeners;
                let is_missed = publication.is_overdue || publication.is_uncertain;
                open.published.push_back((now, number));
                if is_missed {
                    open.miss(number, &self.deliveries);
                }
            }
            open.settle(number);
        }
        let is_uncounted = |report: &SendReport| {
            report.listeners == Listeners::Uncounted
                && report.number > open.flushed_to
                && open.is_waiting(report.number)
        };
        let flush = reports.iter().any(is_uncounted);
        drop(open);
        self.busy.notify_one();
        flush
    }

    /// Publication `number` arrived at its own node.
    pub(crate) fn echo(&self, number: u64, event: Event) {
        let mut guard = self.open();
        let open = &mut *guard;
        let is_known = if let Some(publication) = open.publications.get_mut(&number) {
            publication.replies += 1;
            let unwanted =
                publication.here == Here::Unwanted && open.interests.echo(&event.audience) == Echo::Unwanted;
            unwanted || publication.take_event().is_none()
        } else {
            open.direct.contains(number)
        };
        match event.history.position() {
            Some(position) if is_known && open.late.take(number) => {
                let history = History::Again(position);
                let event = Event { history, ..event };
                self.deliveries.push(Item::Event(event, ReplyTo::Dropped));
                open.settle(number);
            }
            _ if is_known => open.settle(number),
            _ => self.deliveries.push(Item::Event(event, ReplyTo::Own(number))),
        }
    }

    /// A node that is counted among the listeners of these has no connection for them, or received them another way.
    pub(crate) fn declined(&self, numbers: &[u64]) {
        let mut open = self.open();
        for number in numbers {
            open.learn(*number, |publication| publication.replies += 1);
        }
    }

    /// These reached this node's connections.
    pub(crate) fn delivered(&self, reached: &[(u64, Reach)]) {
        let mut open = self.open();
        for &(number, reach) in reached {
            open.learn(number, |publication| {
                publication.here = Here::Done;
                publication.add(reach);
            });
        }
    }

    /// Another node has lost its connection: it may miss what it has not replied to.
    pub(crate) fn may_be_missed(&self) {
        let mut open = self.open();
        for publication in open.publications.values_mut() {
            if publication.awaits_replies() {
                publication.cause.get_or_insert(Cause::NodeMissing);
            }
        }
    }

    /// These reached another node's connections.
    pub(crate) fn reached(&self, reached: &[Reached]) {
        let mut open = self.open();
        for one in reached {
            open.learn(one.number(), |publication| {
                publication.replies += 1;
                publication.add(one.reach());
            });
        }
    }

    // When replies stay out.

    /// Whether to send a flush right behind events, since one was needed lately.
    pub(crate) fn flushes_at_once(&self) -> bool {
        let until = self.open().flush_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// The nodes have replied to flush `number`, or not all of them (`complete`).
    fn flushed(&self, number: u64, complete: bool) {
        let mut open = self.open();
        let unanswered = open.publications.iter().filter(|(of, publication)| {
            **of < number && publication.listeners != Listeners::Unpublished && !publication.given_up
        });
        let mut numbers: Vec<u64> = unanswered.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for number in numbers {
            open.flush_until = Some(Instant::now() + FLUSH_MEMORY);
            open.miss(number, &self.deliveries);
            open.give_up(number, (!complete).then_some(Cause::TimedOut));
        }
    }

    /// Gives up what is overdue. Returns whether to send a flush, and whether anything is still open.
    fn check(&self, now: Instant) -> (bool, bool) {
        let mut open = self.open();
        while let Some((since, number)) = open.published.front().copied() {
            if open.publications.contains_key(&number) {
                if now.duration_since(since) < PATIENCE {
                    break;
                }
                open.miss(number, &self.deliveries);
                open.give_up(number, Some(Cause::TimedOut));
            }
            open.published.pop_front();
        }
        let overdue = open
            .published
            .iter()
            .take_while(|(since, _)| now.duration_since(*since) >= TICK)
            .any(|(_, number)| *number > open.flushed_to && open.is_waiting(*number));
        (overdue, !open.published.is_empty())
    }

    /// Opens a flush, which is to be sent behind all that was published.
    pub(crate) fn flush(&self, requests: &Arc<Requests>) -> Note {
        let request = requests.begin(Kind::Flush);
        self.open().flushed_to = request.number;
        Note::Flush(request)
    }

    /// A flush was sent, or could not be.
    pub(crate) fn flush_sent(self: &Arc<Self>, request: Request, is_sent: bool) {
        let (receipts, number) = (Arc::clone(self), request.number);
        let end = async move {
            let complete = is_sent && request.replies().await.complete;
            receipts.flushed(number, complete);
        };
        drop(tokio::spawn(end));
    }

    /// Gives up what is overdue, as long as anything is open.
    pub(crate) async fn sweep(self: Arc<Self>, requests: Arc<Requests>, node: Arc<Node>) {
        loop {
            self.busy.notified().await;
            loop {
                tokio::time::sleep(TICK).await;
                let (overdue, busy) = self.check(Instant::now());
                if overdue {
                    node.outbox.put(self.flush(&requests));
                }
                if !busy {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
