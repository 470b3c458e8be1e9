//! Requests to all nodes, and the nodes that have not replied: flushes, to which a node replies when it has delivered all earlier
//! publications, and questions.
//!
//! A request waits for all live nodes ([`Peers`](crate::peers::Peers)). A node that does not reply in time costs one wait: later requests
//! wait for it only after it has replied to one of them in time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::locked;
use tokio::sync::oneshot;

use crate::{
    messages::NodeMessage,
    peers::{Kind, Peers},
};

/// The numbers of this node's publications and requests, in one sequence. A request's number is also its time, which shows the delay of
/// a reply.
pub(crate) struct Numbers {
    next: AtomicU64,
    start: u64,
    started: Instant,
}

/// The open requests of a node.
pub(crate) struct Requests {
    node_id: Box<str>,
    peers: Arc<Peers>,
    pub(crate) numbers: Numbers,
    open: Mutex<AHashMap<u64, OpenRequest>>,
}

struct OpenRequest {
    waits_for: Vec<Box<str>>,
    answers: Vec<Bytes>,
    complete: bool,
    done: Option<oneshot::Sender<()>>,
}

/// An open request of this node. Dropping it closes it.
pub(crate) struct Request {
    requests: Arc<Requests>,
    pub(crate) number: u64,
    kind: Kind,
    until: tokio::time::Instant,
    done: oneshot::Receiver<()>,
}

/// The replies to a request.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) answers: Vec<Bytes>,
    /// Whether every node has replied.
    pub(crate) complete: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        // A process that restarts under its old name must not accept echoes and replies to the process before it.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let start = u64::try_from(now.as_micros()).unwrap_or(0);
        Self {
            next: AtomicU64::new(start),
            start,
            started: Instant::now(),
        }
    }
}

impl Numbers {
    /// Takes `count` consecutive numbers. Returns the first.
    pub(crate) fn take(&self, count: usize) -> u64 {
        self.next.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Takes one number that is at least the present time.
    fn take_time(&self) -> u64 {
        self.next.fetch_max(self.now(), Ordering::Relaxed);
        self.take(1)
    }

    /// Returns the age of the request of this number.
    fn age(&self, number: u64) -> Duration {
        Duration::from_micros(self.now().saturating_sub(number))
    }

    fn now(&self) -> u64 {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(0);
        self.start.saturating_add(micros)
    }
}

impl Request {
    /// Waits until all nodes have replied, at most for the patience of its kind. Call it when the message is published.
    pub(crate) async fn replies(mut self) -> Replies {
        let published = tokio::time::Instant::now();
        let waited = tokio::time::timeout_at(self.until, &mut self.done).await;
        let (replies, late) = self.requests.close(self.number);
        // If publishing took long, the nodes had too little time.
        if waited.is_err() && published.elapsed() > self.kind.patience() / 2 {
            self.requests.peers.late(self.kind, &late);
        }
        replies
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        locked(&self.requests.open).remove(&self.number);
    }
}

impl Requests {
    pub(crate) fn new(node_id: Box<str>, peers: Arc<Peers>) -> Self {
        Self {
            node_id,
            peers,
            numbers: Numbers::default(),
            open: Mutex::default(),
        }
    }

    /// Opens a request, whose message the caller publishes next.
    pub(crate) fn begin(self: &Arc<Self>, kind: Kind) -> Request {
        let number = self.numbers.take_time();
        let (mut waits_for, any_missing) = match kind {
            Kind::Flush | Kind::Question => self.peers.waited_for(kind),
            Kind::Probe => (Vec::new(), false),
        };
        if kind != Kind::Question {
            waits_for.push(self.node_id.clone());
        }
        Request {
            done: self.open(number, waits_for, !any_missing),
            requests: Arc::clone(self),
            number,
            kind,
            until: tokio::time::Instant::now() + kind.patience(),
        }
    }

    /// Returns the message of flush `number`.
    pub(crate) fn flush(&self, number: u64) -> NodeMessage {
        NodeMessage::Flush {
            node: self.node_id.clone(),
            token: number,
        }
    }

    /// Returns a flush for which no request waits. Later requests wait again for a node that replies to it in time.
    pub(crate) fn check(&self) -> NodeMessage {
        self.flush(self.numbers.take_time())
    }

    /// Handles the reply of `node` to flush `number`: it has delivered all earlier publications that it received. `complete` is false if
    /// it may have missed some, because it was reconnecting.
    pub(crate) fn flushed(&self, number: u64, node: &str, complete: bool) {
        if !complete {
            self.failed(number);
        }
        self.took_reply(Kind::Flush, number, node, None);
    }

    /// Handles the arrival of probe `number`.
    pub(crate) fn returned(&self, number: u64) {
        self.replied(number, &self.node_id, None);
    }

    /// Handles the answer of `node` to question `number`; `None` if the node has none.
    pub(crate) fn answered(&self, number: u64, node: &str, answer: Option<Bytes>) {
        if answer.is_none() {
            self.failed(number);
        }
        self.took_reply(Kind::Question, number, node, answer);
    }

    fn took_reply(&self, kind: Kind, number: u64, node: &str, answer: Option<Bytes>) {
        if self.numbers.age(number) < kind.patience() {
            self.peers.in_time(kind, node);
        }
        self.replied(number, node, answer);
    }

    fn open(&self, number: u64, waits_for: Vec<Box<str>>, complete: bool) -> oneshot::Receiver<()> {
        let (done, all_replied) = oneshot::channel();
        let mut open = OpenRequest {
            waits_for,
            answers: Vec::new(),
            complete,
            done: Some(done),
        };
        open.settle();
        locked(&self.open).insert(number, open);
        all_replied
    }

    /// Closes a request. Returns its replies, and the nodes that have not replied.
    fn close(&self, number: u64) -> (Replies, Vec<Box<str>>) {
        let open = locked(&self.open).remove(&number);
        open.map_or_else(Default::default, |open| {
            let replies = Replies {
                answers: open.answers,
                complete: open.complete && open.waits_for.is_empty(),
            };
            (replies, open.waits_for)
        })
    }

    fn replied(&self, number: u64, node: &str, answer: Option<Bytes>) {
        if let Some(open) = locked(&self.open).get_mut(&number) {
            open.answers.extend(answer);
            open.waits_for.retain(|waited_for| **waited_for != *node);
            open.settle();
        }
    }

    /// Marks the replies to request `number` as incomplete.
    fn failed(&self, number: u64) {
        if let Some(open) = locked(&self.open).get_mut(&number) {
            open.complete = false;
        }
    }

    /// Stops waiting for `node`, which no longer receives. The replies are then incomplete, unless the node has `ended`.
    pub(crate) fn gone(&self, node: &str, ended: bool) {
        for open in locked(&self.open).values_mut() {
            let before = open.waits_for.len();
            open.waits_for.retain(|waited_for| **waited_for != *node);
            open.complete &= ended || open.waits_for.len() == before;
            open.settle();
        }
    }

    /// Ends all waits, because the receiving connection was lost and no more replies arrive.
    pub(crate) fn lost(&self) {
        for open in locked(&self.open).values_mut() {
            open.complete = false;
            open.done = None;
        }
    }
}

impl OpenRequest {
    fn settle(&mut self) {
        if self.waits_for.is_empty() {
            self.done = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Answered(&'static str),
        Failed(&'static str),
        Flushed(&'static str, bool),
        Lost,
        Gone(&'static str),
        Ended(&'static str),
    }
    use Step::{Answered, Ended, Failed, Flushed, Gone, Lost};

    fn check(waits_for: &[&str], steps: Vec<Step>, waits: bool, answers: &[&str], complete: bool) {
        let requests = Requests::new("x".into(), Arc::default());
        let waits_for = waits_for.iter().map(|node| Box::from(*node)).collect();
        let mut done = requests.open(7, waits_for, true);
        for step in steps {
            match step {
                Answered(node) => requests.replied(7, node, Some(Bytes::from(node))),
                Failed(node) => {
                    requests.failed(7);
                    requests.replied(7, node, None);
                }
                Flushed(node, complete) => requests.flushed(7, node, complete),
                Lost => requests.lost(),
                Gone(node) => requests.gone(node, false),
                Ended(node) => requests.gone(node, true),
            }
            requests.replied(8, "a", None);
        }
        let is_waiting = done.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        assert_eq!(is_waiting, waits);
        let (replies, _) = requests.close(7);
        assert_eq!(
            (replies.answers, replies.complete),
            (
                answers
                    .iter()
                    .map(|text| Bytes::from((*text).to_owned()))
                    .collect(),
                complete
            )
        );
        assert!(locked(&requests.open).is_empty());
    }

    #[test]
    fn a_request_waits_for_all_live_nodes() {
        check(&[], vec![], false, &[], true);
        check(&["a", "b"], vec![], true, &[], false);
        check(&["a", "b"], vec![Answered("a")], true, &["a"], false);
        check(
            &["a", "b"],
            vec![Answered("b"), Answered("a")],
            false,
            &["b", "a"],
            true,
        );
        // A node that was not known yet.
        check(
            &["a"],
            vec![Answered("c"), Answered("a")],
            false,
            &["c", "a"],
            true,
        );
        check(
            &["a", "b"],
            vec![Failed("a"), Answered("b")],
            false,
            &["b"],
            false,
        );
        check(
            &["a", "b"],
            vec![Flushed("a", true), Flushed("b", true)],
            false,
            &[],
            true,
        );
        check(
            &["a", "b"],
            vec![Flushed("a", false), Flushed("b", true)],
            false,
            &[],
            false,
        );
        check(&["a", "b"], vec![Answered("a"), Lost], false, &["a"], false);
        check(&["a", "b"], vec![Gone("b"), Answered("a")], false, &["a"], false);
        check(&["a", "b"], vec![Gone("c"), Answered("a")], true, &["a"], false);
        check(&["a", "b"], vec![Ended("b"), Answered("a")], false, &["a"], true);
    }

    #[test]
    fn a_request_is_numbered_after_what_was_published_before_and_by_its_time() {
        let numbers = Numbers::default();
        let published = numbers.take(3);
        let request = numbers.take_time();
        assert!(request >= published + 3 && numbers.take(1) > request);
        assert!(numbers.age(request) < Duration::from_secs(10));
        assert!(numbers.age(request - 60_000_000) > Duration::from_secs(59));
        // Many publications in a microsecond.
        numbers.take(1 << 40);
        assert_eq!(numbers.age(numbers.take_time()), Duration::ZERO);
    }
}
