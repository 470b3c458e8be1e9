#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use bytes::Bytes;
use fanfare_core::{PublishOptions, RawJson, Receipt, UserId};

use super::{
    Listeners::{Counted, Uncounted, Unpublished},
    *,
};
use crate::{deliveries::Queue, requests::Numbers};

/// The receipts of a node, and its delivery queue.
struct Node {
    publications: Receipts,
    numbers: Numbers,
    queue: Queue,
    _commands: mpsc::UnboundedReceiver<Command>,
}

fn event(data: u64) -> Event {
    let data = RawJson::parse(&Bytes::from(data.to_string())).unwrap();
    Event::new(Audience::Everyone, None, data, SystemTime::UNIX_EPOCH)
}

impl Node {
    fn new() -> Self {
        let (deliveries, queue) = Deliveries::new();
        let (commands, receiver) = mpsc::unbounded_channel();
        let (overdue, _) = mpsc::unbounded_channel();
        Self {
            publications: Receipts::new(deliveries, commands, overdue),
            numbers: Numbers::default(),
            queue,
            _commands: receiver,
        }
    }

    fn receiving() -> Self {
        let node = Self::new();
        node.publications.with_interests(Interests::connected);
        node
    }

    /// Opens publications of events with these data. Returns the first number, and the receiver of the receipts.
    fn enter(&self, data: std::ops::Range<u64>) -> (u64, oneshot::Receiver<Vec<Receipt>>) {
        let events: Vec<Event> = data.map(event).collect();
        let (done, receipts) = oneshot::channel();
        let first = self.numbers.take(events.len());
        self.publish(first, events, done);
        (first, receipts)
    }

    /// Reports the listeners of publications. Returns whether to send a flush.
    fn published(&self, listeners: &[(u64, Listeners)]) -> bool {
        let report = |&(number, listeners)| SendReport {
            number,
            listeners,
            position: None,
            is_id_shared: true,
            is_node_missing: false,
        };
        self.publications
            .published(&listeners.iter().map(report).collect::<Vec<_>>())
    }

    fn publish(&self, first: u64, events: Vec<Event>, done: oneshot::Sender<Vec<Receipt>>) {
        let job = Job {
            events,
            options: PublishOptions { receipt: true },
            done,
        };
        self.publications.enter(first, job, false);
    }

    /// Delivers all queued events, each to one connection. Returns their data.
    fn deliver(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(item) = self.queue.next() {
            if let Item::Event(event, reply_to) = item {
                seen.push(event.data.as_str().to_owned());
                if let ReplyTo::Own(number) = reply_to {
                    self.publications.delivered(&[(number, reach(1))]);
                }
            }
        }
        seen
    }
}

fn reach(queued: u64) -> Reach {
    Reach {
        matched: queued,
        queued,
        dropped: 0,
    }
}

fn receipt(queued: u64, nodes: u32, degraded: bool) -> Receipt {
    Receipt {
        reach: reach(queued),
        nodes,
        degraded,
        is_duplicate: false,
    }
}

#[test]
fn a_receipt_is_complete_when_every_listener_has_replied() {
    let mut node = Node::receiving();
    let (number, mut receipts) = node.enter(0..1);
    assert!(node.deliver().is_empty(), "not before the echo");
    node.publications.echo(number, event(0));
    assert_eq!(node.deliver(), ["0"]);
    node.publications.reached(&[Reached::new(number, reach(5))]);
    assert!(receipts.try_recv().is_err(), "the transport has not reported");
    node.published(&[(number, Counted(2))]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(6, 2, false)]);
    assert!(node.publications.open().publications.is_empty());
    assert!(node.publications.open().batches.is_empty());
}

#[test]
fn a_node_that_declines_is_not_counted() {
    let mut node = Node::receiving();
    let (number, mut receipts) = node.enter(0..1);
    node.published(&[(number, Counted(4))]);
    node.publications.declined(&[number]);
    node.publications.echo(number, event(0));
    assert_eq!(node.deliver(), ["0"]);
    node.publications.reached(&[Reached::new(number, reach(2))]);
    assert!(receipts.try_recv().is_err());
    node.publications.declined(&[number]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(3, 2, false)]);
}

#[test]
fn an_unwanted_echo_counts_as_a_reply() {
    let mut node = Node::receiving();
    let user = |data| Event {
        audience: Audience::User(UserId::new("1").unwrap()),
        ..event(data)
    };
    let (done, mut receipts) = oneshot::channel();
    let number = node.numbers.take(1);
    let events = vec![user(0)];
    node.publish(number, events, done);
    node.publications.echo(number, user(0));
    node.published(&[(number, Counted(1))]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(0, 0, false)]);
    assert!(node.deliver().is_empty());

    // A connection subscribed between publication and echo.
    let (done, mut receipts) = oneshot::channel();
    let number = node.numbers.take(1);
    let events = vec![user(1)];
    node.publish(number, events, done);
    let _in_force = node
        .publications
        .subscribe(Interest::User(UserId::new("1").unwrap()));
    node.published(&[(number, Counted(1))]);
    node.publications.echo(number, user(1));
    assert_eq!(node.deliver(), ["1"]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(1, 1, false)]);
}

#[test]
fn a_lost_connection_delivers_in_order_and_late_echoes_are_dropped() {
    let mut node = Node::receiving();
    let (first, mut receipts) = node.enter(0..3);
    node.publications.echo(first, event(0));
    node.publications.lost();
    let (fourth, mut receipts_after) = node.enter(3..4);
    assert_eq!(node.deliver(), ["0", "1", "2", "3"]);
    node.published(&[
        (first, Counted(1)),
        (first + 1, Unpublished),
        (first + 2, Counted(1)),
    ]);
    let expected = receipt(1, 1, true);
    assert_eq!(receipts.try_recv().unwrap(), [expected; 3]);
    node.published(&[(fourth, Counted(0))]);
    assert_eq!(receipts_after.try_recv().unwrap(), [expected]);
    for number in first..=fourth {
        if number != first {
            node.publications.echo(number, event(number));
        }
    }
    assert!(node.deliver().is_empty());
}

#[test]
fn a_failed_publication_is_delivered_once() {
    let mut node = Node::receiving();
    let (number, mut receipts) = node.enter(0..1);
    node.published(&[(number, Unpublished)]);
    node.publications.echo(number, event(0));
    assert_eq!(node.deliver(), ["0"]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(1, 1, true)]);

    // The echo before the failure was noticed.
    let (number, mut receipts) = node.enter(1..2);
    node.publications.echo(number, event(1));
    node.published(&[(number, Unpublished)]);
    assert_eq!(node.deliver(), ["1"]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(1, 1, true)]);
}

#[test]
fn a_flush_ends_the_wait_for_listeners_that_never_reply() {
    let mut node = Node::receiving();
    let (number, mut receipts) = node.enter(0..1);
    node.publications.echo(number, event(0));
    node.deliver();
    assert!(!node.published(&[(number, Counted(3))]));
    assert_eq!(node.publications.check(Instant::now()), (false, true));
    assert_eq!(node.publications.check(Instant::now() + TICK), (true, true));
    assert!(!node.publications.flushes_at_once());
    node.publications.reached(&[Reached::new(number, reach(4))]);
    assert!(receipts.try_recv().is_err());
    node.publications.flushed(number + 1, true);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(5, 2, false)]);
    assert_eq!(node.publications.check(Instant::now() + TICK), (false, false));
    assert!(node.publications.flushes_at_once(), "with the next publication");
}

#[test]
fn a_lost_connection_of_another_node_degrades_unanswered_publications() {
    for is_answered in [true, false] {
        let mut node = Node::receiving();
        let (number, mut receipts) = node.enter(0..1);
        node.published(&[(number, Counted(2))]);
        node.publications.echo(number, event(0));
        if is_answered {
            node.publications.reached(&[Reached::new(number, reach(4))]);
        }
        node.publications.may_be_missed();
        node.deliver();
        // The node has reconnected and replied to a flush.
        node.publications.flushed(number + 1, true);
        let expected = if is_answered {
            receipt(5, 2, false)
        } else {
            receipt(1, 1, true)
        };
        assert_eq!(receipts.try_recv().unwrap(), [expected]);
    }
}

#[test]
fn without_counts_a_flush_completes_the_receipt() {
    for complete in [true, false] {
        let mut node = Node::receiving();
        let (number, mut receipts) = node.enter(0..2);
        assert!(node.published(&[(number, Uncounted)]));
        node.publications.reached(&[Reached::new(number, reach(4))]);
        node.publications.flushed(number, complete);
        assert!(node.published(&[(number + 1, Uncounted)]));
        assert!(
            receipts.try_recv().is_err(),
            "a flush covers only earlier publications"
        );
        node.publications.flushed(number + 2, complete);
        assert_eq!(node.deliver(), ["0", "1"], "their echoes did not arrive");
        assert_eq!(
            receipts.try_recv().unwrap(),
            [receipt(5, 2, !complete), receipt(1, 1, !complete)]
        );
    }
}

#[test]
fn an_overdue_event_is_delivered_and_its_receipt_degraded() {
    let mut node = Node::receiving();
    let (number, mut receipts) = node.enter(0..2);
    node.publications.echo(number, event(0));
    node.published(&[(number, Counted(2)), (number + 1, Counted(1))]);
    node.publications.check(Instant::now() + PATIENCE);
    assert_eq!(node.deliver(), ["0", "1"]);
    assert_eq!(receipts.try_recv().unwrap(), [receipt(1, 1, true); 2]);
    node.publications.echo(number + 1, event(1));
    assert!(node.deliver().is_empty());
}

#[test]
fn a_publication_is_closed_even_if_its_caller_is_gone() {
    let mut node = Node::receiving();
    let (number, receipts) = node.enter(0..1);
    drop(receipts);
    node.published(&[(number, Counted(1))]);
    node.publications.echo(number, event(0));
    assert_eq!(node.deliver(), ["0"]);
    assert!(node.publications.open().publications.is_empty());
    assert!(node.publications.open().batches.is_empty());
}
