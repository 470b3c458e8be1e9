//! The publications of this node whose receipts are not complete.
//!
//! Each publication has a number. Each node that delivers it replies with its reach. If the transport counts the listeners, the receipt
//! waits for as many replies. Other programs that listen never reply, and some transports do not count. In both cases a flush
//! ([`Kind::Flush`]) asks all live nodes to reply when they have delivered all earlier publications; after that, no reply is missing.
//! If the echo of a publication does not arrive at this node, the node delivers the event directly. A kept event is fetched from the
//! journal instead ([`Overdue`]), so that no event with a lower number follows it.
//!
//! One lock protects all publications. The delivery queue is filled under the same lock, so its order is the order of publication.

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

/// The time between two checks for overdue publications.
const TICK: Duration = Duration::from_millis(25);
/// The longest wait for replies, if no flush could be sent.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time for which a flush directly follows each publication after one was needed.
const FLUSH_MEMORY: Duration = Duration::from_secs(60);

/// The events of one call to publish.
pub(crate) struct Job {
    pub(crate) events: Vec<Event>,
    pub(crate) options: PublishOptions,
    pub(crate) done: oneshot::Sender<Vec<Receipt>>,
}

/// The open publications, and the interests on which their echoes depend.
pub(crate) struct Receipts {
    open: Mutex<OpenPublications>,
    deliveries: Deliveries,
    commands: mpsc::UnboundedSender<Command>,
    /// Notified when a publication may have become overdue later.
    busy: Notify,
}

impl Receipts {
    /// The receiver of `overdue` fetches these publications from the journal.
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

    // The interests of this node.

    /// Holds `interest`. The returned receiver resolves when the subscription is in force. Returns `None` while the transport is away.
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

    /// Releases `interest`.
    pub(crate) fn unsubscribe(&self, interest: Interest) {
        let mut open = self.open();
        open.interests.release(&interest);
        if open.interests.receiving {
            let _ = self.commands.send(Command::Unsubscribe(interest));
        }
    }

    /// Calls `work` with the interests of this node.
    pub(crate) fn with_interests<T>(&self, work: impl FnOnce(&mut Interests) -> T) -> T {
        work(&mut self.open().interests)
    }

    /// Returns whether a connection of this node receives events for `audience`.
    pub(crate) fn wants(&self, audience: &Audience) -> bool {
        self.open().interests.echo(audience) != Echo::Unwanted
    }

    /// Returns whether this node receives all channels.
    pub(crate) fn wants_all_channels(&self) -> bool {
        self.open().interests.holds(&Interest::AllChannels)
    }

    /// Returns the numbers of degraded receipts, by cause.
    pub(crate) fn degraded(&self) -> Vec<(&'static str, u64)> {
        Cause::NAMES.into_iter().zip(self.open().degraded).collect()
    }

    /// Handles the loss of the receiving connection, after which no echo and no reply arrives.
    pub(crate) fn lost(&self) {
        let mut open = self.open();
        open.interests.disconnected();
        for number in open.numbers() {
            open.miss(number, &self.deliveries);
            open.give_up(number, Some(Cause::Away));
        }
    }

    // The steps of a publication.

    /// Opens publications for a job's events, numbered from `first`, which are published next.
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
            // Without a receipt, the publication waits only for this node's delivery.
            publication.given_up = !job.options.receipt;
            let wants_place = publication.wants_place();
            open.publications.insert(number, publication);
            // An event that the journal should keep waits for its number, because events with lower numbers come first.
            if echo == Echo::Uncertain && !wants_place {
                open.deliver(number, &self.deliveries);
            }
            if !open.interests.receiving {
                open.give_up(number, None);
            }
        }
    }

    /// Stores the transport's report of each publication. Returns whether to send a flush now.
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
        // Echoes of publications before the last failure may still arrive. An event that is delivered directly must not overtake them.
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

    /// Handles the echo of publication `number`.
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

    /// Counts a reply without a reach: the listening node has no connection for these publications, or received them another way.
    pub(crate) fn declined(&self, numbers: &[u64]) {
        let mut open = self.open();
        for number in numbers {
            open.update(*number, |publication| publication.replies += 1);
        }
    }

    /// Adds the reach of publications among this node's connections.
    pub(crate) fn delivered(&self, reached: &[(u64, Reach)]) {
        let mut open = self.open();
        for &(number, reach) in reached {
            open.update(number, |publication| {
                publication.here = Here::Done;
                publication.add(reach);
            });
        }
    }

    /// Degrades the open publications, because another node has lost its connection and may miss them.
    pub(crate) fn may_be_missed(&self) {
        let mut open = self.open();
        for publication in open.publications.values_mut() {
            if publication.awaits_replies() {
                publication.cause.get_or_insert(Cause::NodeMissing);
            }
        }
    }

    /// Adds the reach of publications among another node's connections.
    pub(crate) fn reached(&self, reached: &[Reached]) {
        let mut open = self.open();
        for one in reached {
            open.update(one.number(), |publication| {
                publication.replies += 1;
                publication.add(one.reach());
            });
        }
    }

    // Missing replies.

    /// Returns whether a flush should directly follow publications, because one was needed recently.
    pub(crate) fn flushes_at_once(&self) -> bool {
        let until = self.open().flush_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Ends the wait for replies to publications before flush `number`. `complete` is whether all nodes replied to the flush.
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

    /// Ends the wait for overdue publications. Returns whether to send a flush, and whether publications are still open.
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

    /// Opens a flush, which the caller sends after all present publications.
    pub(crate) fn flush(&self, requests: &Arc<Requests>) -> Note {
        let request = requests.begin(Kind::Flush);
        self.open().flushed_to = request.number;
        Note::Flush(request)
    }

    /// Waits for the replies to a flush, if it could be sent.
    pub(crate) fn flush_sent(self: &Arc<Self>, request: Request, is_sent: bool) {
        let (receipts, number) = (Arc::clone(self), request.number);
        let end = async move {
            let complete = is_sent && request.replies().await.complete;
            receipts.flushed(number, complete);
        };
        drop(tokio::spawn(end));
    }

    /// Checks for overdue publications periodically, while publications are open.
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
