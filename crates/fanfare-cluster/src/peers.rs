//! The other nodes: which of them are live, and which may miss publications.
//!
//! A node reports to all others when its subscriptions are in force, when it has lost them, when it ends, and every two seconds.
//! A node is *missing* while it reports that it does not receive, while its reports do not arrive, and after a late reply. Then
//! receipts are degraded, and nothing waits for that node. A node that has not reported for [`MEMORY`] has died. After an outage of
//! the server every other node is missing until it reports.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ahash::AHashMap;
use fanfare_core::{QUESTION_TIMEOUT, locked};

use crate::{
    ANSWER_TIMEOUT,
    messages::{Connections, Report},
    transport::Subject,
};

/// The time that the replies to a flush may take.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);
/// A node that has not reported for this time is missing.
const REPORT_TIMEOUT: Duration = Duration::from_secs(6);
/// A node that has not reported for this time is forgotten.
const MEMORY: Duration = Duration::from_secs(10);
/// The most nodes that are counted with one batch of publications. Redis needs 45 µs for 64 nodes, and 3 µs for ten.
const COUNTED: usize = 64;

/// The kinds of requests to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flush,
    Question,
    /// A request to this node only.
    Probe,
}

impl Kind {
    /// Returns the time that the replies may take.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Flush => FLUSH_PATIENCE,
            Self::Question => QUESTION_TIMEOUT,
            Self::Probe => ANSWER_TIMEOUT,
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Peers {
    others: Mutex<AHashMap<Box<str>, Peer>>,
    /// Whether this node's subscriptions are in force.
    receives: AtomicBool,
    /// Whether this node has reported that it ends.
    ends: AtomicBool,
    /// The number of nodes that died.
    died: AtomicU64,
    /// The first node of the next count, if not all are counted at once.
    next_counted: AtomicUsize,
}

/// Returns the subject that a node subscribes to by one receiving connection, as long as all its subscriptions are in force there.
/// The count of its subscribers shows whether the node may miss events. It shows that also if the server still has a dead connection
/// of the node, or if the node has reconnected at once.
pub(crate) fn receiving_subject(node: &str, run: u64, receiving: u64) -> Subject {
    // No node has this name.
    Subject::Node(format!("{node}:{run:x}:{receiving}").into())
}

/// The last report of another node, and its late replies.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Distinguishes the processes of one name.
    run: u64,
    receives: bool,
    connections: Connections,
    /// Its [`receiving_subject`]; `None` for nodes of a version that does not report its connections.
    counted_at: Option<Subject>,
    reported: Instant,
    /// For each [`Kind`]: whether its reply to the last request was late.
    late: [bool; 3],
}

impl Peer {
    /// Returns whether these are its connections.
    pub(crate) fn is_on(&self, connections: Connections) -> bool {
        self.connections == connections
    }

    /// Returns whether its reply to the last request of this kind was late.
    pub(crate) fn is_late(&self, kind: Kind) -> bool {
        self.late[kind as usize]
    }

    fn is_live(&self, kind: Kind) -> bool {
        self.receives && !self.is_late(kind) && self.reported.elapsed() < REPORT_TIMEOUT
    }
}

impl Peers {
    /// Notes the report of a node. Returns the last state of the same process.
    pub(crate) fn reported(&self, report: &Report) -> Option<Peer> {
        let mut others = locked(&self.others);
        let known = others.remove(&report.node);
        let known = known.filter(|peer| peer.run == report.run);
        let Connections { receiving, .. } = report.connections;
        let peer = Peer {
            run: report.run,
            receives: report.receives,
            connections: report.connections,
            counted_at: (receiving > 0).then(|| receiving_subject(&report.node, report.run, receiving)),
            reported: Instant::now(),
            late: known.as_ref().map(|peer| peer.late).unwrap_or_default(),
        };
        others.insert(report.node.clone(), peer);
        known
    }

    /// Returns whether `node` has reported connections other than these. Messages to the earlier ones may be lost.
    pub(crate) fn is_on_others(&self, node: &str, connections: Connections) -> bool {
        let others = locked(&self.others);
        others.get(node).is_some_and(|peer| !peer.is_on(connections))
    }

    /// Removes `node`, which has reported that it ends.
    pub(crate) fn ended(&self, node: &str) {
        locked(&self.others).remove(node);
    }

    /// Notes that `nodes` did not reply in time.
    pub(crate) fn late(&self, kind: Kind, nodes: &[Box<str>]) {
        let mut others = locked(&self.others);
        for node in nodes {
            if let Some(peer) = others.get_mut(node) {
                peer.late[kind as usize] = true;
            }
        }
    }

    /// Notes that `node` replied in time.
    pub(crate) fn in_time(&self, kind: Kind, node: &str) {
        if let Some(peer) = locked(&self.others).get_mut(node) {
            peer.late[kind as usize] = false;
        }
    }

    /// Notes that this node has lost its receiving connection. Every other node is missing, because reports no longer arrive.
    pub(crate) fn lost(&self) {
        self.receives.store(false, Ordering::Relaxed);
        for peer in locked(&self.others).values_mut() {
            peer.receives = false;
        }
    }

    /// Notes that this node's subscriptions are in force. From now on reports arrive.
    pub(crate) fn connected(&self) {
        self.receives.store(true, Ordering::Relaxed);
        for peer in locked(&self.others).values_mut() {
            peer.reported = Instant::now();
        }
    }

    /// Notes that this node ends, and sends no more reports.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Returns whether this node has reported that it ends.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Returns whether this node's subscriptions are in force.
    pub(crate) fn receives(&self) -> bool {
        self.receives.load(Ordering::Relaxed)
    }

    /// Returns whether a node may miss a publication of this moment.
    pub(crate) fn any_missing(&self) -> bool {
        self.known().values().any(|peer| !peer.is_live(Kind::Flush))
    }

    /// Returns other nodes with their [`receiving_subject`]s, to be counted now. If there are more than [`COUNTED`], each call
    /// returns the next ones.
    pub(crate) fn receivers(&self) -> Vec<(Box<str>, Subject)> {
        let others = self.known();
        let counted = || {
            let all = others.iter();
            all.filter_map(|(node, peer)| Some((node, peer.counted_at.as_ref()?)))
        };
        let (count, mut first) = (counted().count(), 0);
        if count > COUNTED {
            first = self.next_counted.fetch_add(COUNTED, Ordering::Relaxed) % count;
        }
        let from_first = counted().skip(first).chain(counted());
        let receivers = from_first.take(count.min(COUNTED));
        receivers
            .map(|(node, subject)| (node.clone(), subject.clone()))
            .collect()
    }

    /// Notes that these have no subscribers: the nodes are missing until they report again. Returns whether one has not ended.
    pub(crate) fn gone(&self, receivers: impl Iterator<Item = (Box<str>, Subject)>) -> bool {
        let (mut others, mut any_missing) = (locked(&self.others), false);
        for (node, subject) in receivers {
            if let Some(peer) = others.get_mut(&node) {
                peer.receives &= peer.counted_at.as_ref() != Some(&subject);
                any_missing = true;
            }
        }
        any_missing
    }

    /// Returns the numbers of live and of missing nodes.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let (live, all) = (self.waited_for(Kind::Flush).0.len(), self.known().len());
        vec![("live", live as u64), ("missing", (all - live.min(all)) as u64)]
    }

    /// Returns the number of nodes that died: their reports ceased without one that they end.
    pub(crate) fn died(&self) -> u64 {
        drop(self.known());
        self.died.load(Ordering::Relaxed)
    }

    /// Returns the nodes that a request of this kind waits for, and whether others are missing.
    pub(crate) fn waited_for(&self, kind: Kind) -> (Vec<Box<str>>, bool) {
        let others = self.known();
        let live = others.iter().filter(|(_, peer)| peer.is_live(kind));
        let live: Vec<_> = live.map(|(node, _)| node.clone()).collect();
        let any_missing = live.len() < others.len();
        (live, any_missing)
    }

    /// Returns the nodes that have not died, and forgets those that have.
    fn known(&self) -> MutexGuard<'_, AHashMap<Box<str>, Peer>> {
        let mut others = locked(&self.others);
        if self.receives() {
            let count = others.len();
            others.retain(|_, peer| peer.reported.elapsed() < MEMORY);
            self.died
                .fetch_add((count - others.len()) as u64, Ordering::Relaxed);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Connections = Connections {
        receiving: 1,
        lost: 0,
    };

    fn report(peers: &Peers, node: &str, run: u64, receives: bool) -> Option<Peer> {
        report_on(peers, node, run, receives, FIRST)
    }

    fn report_on(
        peers: &Peers,
        node: &str,
        run: u64,
        receives: bool,
        connections: Connections,
    ) -> Option<Peer> {
        peers.reported(&Report {
            node: node.into(),
            run,
            receives,
            connections,
            notices: 0,
            reply: false,
        })
    }

    #[test]
    fn a_node_is_missing_until_it_reports() {
        let peers = Peers::default();
        assert!(!peers.any_missing() && !peers.receives());
        peers.connected();
        report(&peers, "a", 1, true);
        report(&peers, "b", 1, true);
        assert!(!peers.any_missing() && peers.receives());
        report(&peers, "b", 1, false);
        assert!(peers.any_missing());
        report(&peers, "b", 1, true);
        assert!(!peers.any_missing());

        // After an outage each node must report again.
        peers.lost();
        assert!(peers.any_missing() && !peers.receives());
        peers.connected();
        report(&peers, "a", 1, true);
        assert!(peers.any_missing());
        peers.ended("b");
        assert!(!peers.any_missing());
    }

    #[test]
    fn a_node_that_reconnected_is_on_another_connection() {
        let peers = Peers::default();
        peers.connected();
        let known = report(&peers, "a", 1, true);
        assert!(known.is_none() && !peers.is_on_others("b", FIRST));
        assert!(!peers.is_on_others("a", FIRST));
        for others in [
            Connections {
                receiving: 2,
                lost: 0,
            },
            Connections {
                receiving: 1,
                lost: 1,
            },
        ] {
            assert!(peers.is_on_others("a", others));
        }
    }

    #[test]
    fn a_node_whose_connection_has_no_subscriber_is_missing_until_it_reports() {
        let peers = Peers::default();
        peers.connected();
        report(&peers, "a", 1, true);
        // A node of an older version is not counted.
        report_on(&peers, "old", 1, true, Connections::default());
        let receivers = peers.receivers();
        assert_eq!(receivers.len(), 1);
        assert_eq!(receivers[0].1, Subject::Node("a:1:1".into()));
        assert!(peers.gone(receivers.clone().into_iter()) && peers.any_missing());
        report(&peers, "a", 1, true);
        assert!(!peers.any_missing());
        // It has reported another connection meanwhile: earlier publications may be lost, but the node is live.
        report_on(
            &peers,
            "a",
            1,
            true,
            Connections {
                receiving: 2,
                lost: 0,
            },
        );
        assert!(peers.gone(receivers.clone().into_iter()) && !peers.any_missing());
        peers.ended("a");
        assert!(!peers.gone(receivers.into_iter()));
    }

    #[test]
    fn of_many_nodes_some_are_counted_at_once_and_all_in_turn() {
        let peers = Peers::default();
        peers.connected();
        for number in 0..3 * COUNTED - 1 {
            report(&peers, &number.to_string(), 1, true);
        }
        let batches = [peers.receivers(), peers.receivers(), peers.receivers()];
        assert!(batches.iter().all(|receivers| receivers.len() == COUNTED));
        let nodes: std::collections::HashSet<_> = batches.iter().flatten().map(|(node, _)| node).collect();
        assert_eq!(nodes.len(), 3 * COUNTED - 1);
    }

    #[test]
    fn a_node_that_was_late_is_not_waited_for_until_it_replies_in_time() {
        let peers = Peers::default();
        peers.connected();
        report(&peers, "a", 1, true);
        assert!(report(&peers, "b", 1, true).is_none());
        peers.late(Kind::Flush, &["b".into(), "unknown".into()]);
        assert!(peers.any_missing());
        assert_eq!(peers.waited_for(Kind::Flush), (vec!["a".into()], true));
        assert_eq!(peers.waited_for(Kind::Question).0.len(), 2);
        let late = report(&peers, "b", 1, true).map(|peer| peer.late);
        assert_eq!(late, Some([true, false, false]), "a report is not a reply");
        assert!(peers.any_missing());
        peers.in_time(Kind::Question, "b");
        assert!(peers.any_missing());
        peers.in_time(Kind::Flush, "b");
        assert!(!peers.any_missing());
        assert_eq!(peers.waited_for(Kind::Flush).0.len(), 2);
        // Another process of that name was never late.
        peers.late(Kind::Flush, &["b".into()]);
        assert!(report(&peers, "b", 2, true).is_none());
        assert!(!peers.any_missing());
    }

    #[test]
    fn a_node_that_does_not_report_is_missing_and_then_forgotten() {
        let peers = Peers::default();
        peers.connected();
        let set = |receives, age| {
            let peer = Peer {
                run: 1,
                receives,
                connections: FIRST,
                counted_at: None,
                reported: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
                late: [false; 3],
            };
            locked(&peers.others).insert("a".into(), peer);
        };
        for (receives, age, missing, known) in [
            (true, REPORT_TIMEOUT / 2, false, 1),
            (true, REPORT_TIMEOUT, true, 1),
            (false, REPORT_TIMEOUT, true, 1),
            (true, MEMORY, false, 0),
            (false, MEMORY, false, 0),
        ] {
            set(receives, age);
            assert_eq!(peers.any_missing(), missing, "{receives} {age:?}");
            assert_eq!(locked(&peers.others).len(), known, "{receives} {age:?}");
        }
        assert_eq!(peers.died(), 2);
        report(&peers, "b", 1, true);
        peers.ended("b");
        assert_eq!(peers.died(), 2, "a node that reports its end has not died");
        // In an outage, which may be longer, no node is forgotten.
        report(&peers, "a", 1, true);
        peers.lost();
        set(false, MEMORY);
        assert!(peers.any_missing());
        peers.connected();
        assert!(peers.any_missing());
    }
}
