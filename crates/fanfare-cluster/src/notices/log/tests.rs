#![allow(clippy::unwrap_used)]

use super::*;

/// Nodes that receive the messages which a test passes on.
struct Cluster {
    logs: Vec<Log>,
    /// The notices that each node received.
    received: Vec<Vec<String>>,
    now: Instant,
}

/// One message and its subject.
#[derive(Clone)]
struct Sent(Subject, Bytes);

impl Cluster {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let run = |at: usize| u64::try_from(at).unwrap() + 1;
        Self {
            logs: (0..count)
                .map(|at| Log::new(&at.to_string(), run(at), now))
                .collect(),
            received: vec![Vec::new(); count],
            now,
        }
    }

    fn publish(&mut self, at: usize, notices: std::ops::Range<usize>) {
        for notice in notices {
            self.logs[at].publish(Bytes::from(notice.to_string()), self.now);
        }
    }

    /// Takes all messages that a node sends next.
    fn sends(&mut self, at: usize) -> Vec<Sent> {
        let mut messages = Vec::new();
        while let Some(batch) = self.logs[at].batch() {
            assert!(batch.messages.len() <= BATCH);
            self.logs[at].sent = batch.sent.unwrap_or(self.logs[at].sent);
            messages.extend(
                batch
                    .messages
                    .into_iter()
                    .map(|message| Sent(message.subject, message.payload)),
            );
        }
        messages
    }

    /// Passes `messages` to a node. Returns its requests, with the number of the node that each is for.
    fn receive(&mut self, at: usize, messages: &[Sent]) -> Vec<(usize, MissedNotices)> {
        let (log, now) = (&mut self.logs[at], self.now);
        let mut missed = Vec::new();
        for Sent(to, message) in messages {
            if *to != Subject::Nodes && *to != Subject::Node(at.to_string().into()) {
                continue;
            }
            let (control, body) = NodeMessage::read(message).unwrap();
            match control {
                NodeMessage::Notice { node, run, number } => match log.receive(run, number, now) {
                    Sequence::Next => self.received[at].push(String::from_utf8(body.to_vec()).unwrap()),
                    Sequence::Duplicate => {}
                    Sequence::Gap => missed.extend(request(log, &node, run, now)),
                },
                NodeMessage::NextNotice { run, number } => log.skip(run, number, now),
                other => panic!("{other:?}"),
            }
        }
        missed
    }

    /// Lets all nodes report, and delivers all messages until no node sends another.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 20, "they never stop");
            self.advance(REQUEST_INTERVAL);
            let mut is_active = false;
            for from in 0..self.logs.len() {
                let messages = self.sends(from);
                let (run, sent) = (self.logs[from].run, self.logs[from].sent);
                is_active |= !messages.is_empty();
                for to in 0..self.logs.len() {
                    let mut missed = self.receive(to, &messages);
                    if self.logs[to].reported(run, sent, self.now) == Sequence::Gap {
                        missed.extend(request(&mut self.logs[to], &from.to_string(), run, self.now));
                    }
                    for (of, missed) in missed {
                        is_active = true;
                        self.logs[of].retransmit(missed, self.now);
                    }
                }
            }
            if !is_active {
                return;
            }
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
    }
}

fn request(log: &mut Log, node: &str, run: u64, now: Instant) -> Option<(usize, MissedNotices)> {
    match log.request(run, now) {
        Some(NodeMessage::Missed(missed)) => Some((node.parse().unwrap(), missed)),
        _ => None,
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn other_nodes_receive_all_once_and_in_order() {
    let mut cluster = Cluster::new(3);
    cluster.publish(0, 0..2000);
    cluster.settle();
    assert_eq!(cluster.received, [vec![], numbers(0..2000), numbers(0..2000)]);
    assert!(cluster.logs[0].batch().is_none());
}

#[test]
fn lost_notices_are_retransmitted() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..3);
    cluster.sends(0);
    cluster.publish(0, 3..4);
    let messages = cluster.sends(0);
    assert_eq!(
        cluster.receive(1, &messages).len(),
        1,
        "the next notice shows the loss"
    );
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(0..4));
    cluster.publish(0, 4..2004);
    cluster.sends(0);
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(0..2004), "a report shows the loss");
    // Parts of the retransmission are lost.
    cluster.publish(0, 2004..5000);
    cluster.sends(0);
    let (run, now) = (cluster.logs[0].run, cluster.now);
    let (_, missed) = request(&mut cluster.logs[1], "0", run, now).unwrap();
    cluster.logs[0].retransmit(missed, now);
    let messages = cluster.sends(0);
    for part in [0..100, 600..700, 1200..1300] {
        cluster.receive(1, &messages[part]);
    }
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(0..5000));
}

#[test]
fn duplicates_are_ignored() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..600);
    let batch = cluster.logs[0].batch().unwrap();
    let messages: Vec<Sent> = batch
        .messages
        .into_iter()
        .map(|message| Sent(message.subject, message.payload))
        .collect();
    // The publisher does not know whether they were sent, so it sends them again.
    cluster.receive(1, &messages[..100]);
    cluster.settle();
    cluster.receive(1, &messages);
    assert_eq!(cluster.received[1], numbers(0..600));
}

#[test]
fn a_node_receives_the_notices_since_its_start() {
    let mut cluster = Cluster::new(1);
    cluster.publish(0, 0..5);
    cluster.settle();
    cluster.advance(SLACK + Duration::from_millis(1));
    cluster.logs.push(Log::new("1", 2, cluster.now));
    cluster.received.push(Vec::new());
    cluster.publish(0, 5..7);
    cluster.sends(0);
    cluster.advance(Duration::from_secs(60));
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(5..7));
    cluster.publish(0, 7..8);
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(5..8));
}

#[test]
fn a_node_does_not_receive_notices_from_before_its_start() {
    let mut cluster = Cluster::new(1);
    cluster.publish(0, 0..5);
    cluster.settle();
    cluster.advance(2 * SLACK);
    // The second process has the same name.
    for run in [2, 3] {
        cluster.logs.truncate(1);
        cluster.logs.push(Log::new("1", run, cluster.now));
        cluster.received.truncate(1);
        cluster.received.push(Vec::new());
        cluster.settle();
        assert_eq!(cluster.received[1], [""; 0]);
        cluster.publish(0, 5..6);
        cluster.settle();
        assert_eq!(cluster.received[1], ["5"]);
        cluster.advance(2 * SLACK);
    }
}

#[test]
fn the_oldest_notices_are_dropped_if_there_are_too_many() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..3);
    cluster.settle();
    let last = 3 + MAX_NOTICES + 7;
    let dropped: usize = (3..last)
        .map(|notice| cluster.logs[0].publish(Bytes::from(notice.to_string()), cluster.now))
        .sum();
    assert_eq!(dropped, 7);
    cluster.settle();
    let mut expected = numbers(0..3);
    expected.extend(numbers(10..last));
    assert_eq!(cluster.received[1], expected);
    assert_eq!(
        cluster.logs[0].publish(Bytes::new(), cluster.now),
        0,
        "all were published"
    );
    let large = Bytes::from(vec![b' '; KEPT_BYTES / 4]);
    for _ in 0..9 {
        cluster.logs[0].publish(large.clone(), cluster.now);
    }
    assert!(cluster.logs[0].kept_bytes <= KEPT_BYTES && cluster.logs[0].kept.len() <= 5);
}

#[test]
fn requests_are_limited() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..10);
    let messages = cluster.sends(0);
    assert_eq!(cluster.receive(1, &messages[5..]).len(), 1);
    assert_eq!(cluster.receive(1, &messages[5..]).len(), 0);
    cluster.advance(REQUEST_INTERVAL);
    let missed = cluster.receive(1, &messages[5..]);
    assert_eq!(missed.len(), 1);
    // Repeated requests are answered once.
    for _ in 0..3 {
        cluster.logs[0].retransmit(missed[0].1.clone(), cluster.now);
    }
    assert_eq!(cluster.sends(0).len(), 1 + 10);
}

#[test]
fn silent_publishers_are_forgotten() {
    let mut log = Log::new("a", 0, Instant::now());
    let start = Instant::now();
    for run in 1..=2 * PUBLISHERS as u64 {
        assert_eq!(
            log.receive(run, 0, start + Duration::from_secs(run)),
            Sequence::Next
        );
    }
    assert_eq!(log.received.len(), PUBLISHERS);
    assert!(log.received.contains_key(&(2 * PUBLISHERS as u64)) && !log.received.contains_key(&1));
}
