#![allow(clippy::unwrap_used)]

use super::*;

/// Nodes that hear of each other what the test lets through.
struct Cluster {
    logs: Vec<Log>,
    /// What each received.
    received: Vec<Vec<String>>,
    now: Instant,
}

/// One message, and to whom it went.
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

    /// What a node sends next.
    fn sends(&mut self, at: usize) -> Vec<Sent> {
        let mut messages = Vec::new();
        while let Some(batch) = self.logs[at].batch(self.now) {
            assert!(batch.messages.len() <= BATCH + 3);
            messages.extend(
                batch
                    .messages
                    .into_iter()
                    .map(|message| Sent(message.subject, message.payload)),
            );
        }
        messages
    }

    fn receive(&mut self, at: usize, messages: &[Sent]) {
        for Sent(to, message) in messages {
            if *to != Subject::Nodes && *to != Subject::Node(at.to_string().into()) {
                continue;
            }
            let (control, body) = NodeMessage::read(message).unwrap();
            match control {
                NodeMessage::Notice(place) => {
                    if self.logs[at].receive(&place, self.now) {
                        self.received[at].push(String::from_utf8(body.to_vec()).unwrap());
                    }
                }
                NodeMessage::Skip(place) => {
                    self.logs[at].receive(&place, self.now);
                }
                NodeMessage::Hello(hello) => self.logs[at].greeted(&hello, self.now),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Delivers all messages until no node sends another.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10, "they never stop");
            let mut said = false;
            for from in 0..self.logs.len() {
                let messages = self.sends(from);
                said |= !messages.is_empty();
                for to in 0..self.logs.len() {
                    self.receive(to, &messages);
                }
            }
            if !said {
                return;
            }
        }
    }

    /// As when a node's listening connection is new.
    fn connected(&mut self, at: usize) {
        self.logs[at].greet_all();
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn others_hear_all_once_and_in_order() {
    let mut cluster = Cluster::new(3);
    cluster.publish(0, 0..2000);
    cluster.settle();
    assert_eq!(cluster.received, [vec![], numbers(0..2000), numbers(0..2000)]);
    assert!(cluster.logs[0].batch(cluster.now).is_none());
}

#[test]
fn what_was_lost_is_repeated() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..3);
    cluster.sends(0);
    cluster.publish(0, 3..4);
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(0..4), "the next one shows it");
    for listener in [1, 0] {
        cluster.publish(0, 4..1004);
        cluster.sends(0);
        cluster.connected(listener);
        cluster.settle();
        assert_eq!(cluster.received[1].len() % 1000, 4, "a new connection shows it");
        assert_eq!(cluster.received[1].last().unwrap(), "1003");
    }
}

#[test]
fn what_comes_again_is_known() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..600);
    let batch = cluster.logs[0].batch(cluster.now).unwrap();
    let messages: Vec<Sent> = batch
        .messages
        .iter()
        .cloned()
        .map(|message| Sent(message.subject, message.payload))
        .collect();
    cluster.receive(1, &messages[..100]);
    cluster.logs[0].take_back(batch);
    cluster.settle();
    cluster.receive(1, &messages);
    assert_eq!(cluster.received[1], numbers(0..600));
}

#[test]
fn everything_taken_back_is_sent_again() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..10);
    cluster.sends(0);
    cluster.connected(1);
    cluster.connected(0);
    for _ in 0..20 {
        for at in [0, 1] {
            if let Some(batch) = cluster.logs[at].batch(cluster.now) {
                cluster.logs[at].take_back(batch);
            }
        }
    }
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(0..10));
}

#[test]
fn a_node_receives_what_was_published_since_it_is_there() {
    let mut cluster = Cluster::new(1);
    cluster.publish(0, 0..5);
    cluster.settle();
    cluster.passes(SLACK + Duration::from_millis(1));
    cluster.logs.push(Log::new("1", 2, cluster.now));
    cluster.received.push(Vec::new());
    cluster.publish(0, 5..7);
    cluster.sends(0);
    cluster.passes(Duration::from_secs(60));
    cluster.connected(1);
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(5..7));
    cluster.publish(0, 7..8);
    cluster.settle();
    assert_eq!(cluster.received[1], numbers(5..8));
}

#[test]
fn a_node_that_starts_hears_nothing_old() {
    let mut cluster = Cluster::new(1);
    cluster.publish(0, 0..5);
    cluster.settle();
    cluster.passes(2 * SLACK);
    // It comes again under a name that was there before.
    for run in [2, 3] {
        cluster.logs.truncate(1);
        cluster.logs.push(Log::new("1", run, cluster.now));
        cluster.received.truncate(1);
        cluster.received.push(Vec::new());
        cluster.connected(1);
        cluster.settle();
        assert_eq!(cluster.received[1], [""; 0]);
        cluster.publish(0, 5..6);
        cluster.settle();
        assert_eq!(cluster.received[1], ["5"]);
        cluster.passes(2 * SLACK);
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
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
fn complaints_are_few() {
    let mut cluster = Cluster::new(2);
    cluster.publish(0, 0..10);
    let messages = cluster.sends(0);
    cluster.receive(1, &messages[5..]);
    assert_eq!(cluster.sends(1).len(), 1);
    cluster.receive(1, &messages[5..]);
    assert_eq!(cluster.sends(1).len(), 0);
    cluster.passes(REQUEST_INTERVAL);
    cluster.receive(1, &messages[5..]);
    assert_eq!(cluster.sends(1).len(), 1);
}

#[test]
fn publishers_of_long_ago_are_forgotten() {
    let mut book = Log::new("a", 0, Instant::now());
    let start = Instant::now();
    for run in 1..=2 * PUBLISHERS as u64 {
        let place = NoticePlace {
            node: "b".into(),
            run,
            after: 0,
            next: 1,
        };
        assert!(book.receive(&place, start + Duration::from_secs(run)));
    }
    assert_eq!(book.received.len(), PUBLISHERS);
    assert!(book.received.contains_key(&(2 * PUBLISHERS as u64)) && !book.received.contains_key(&1));
}
