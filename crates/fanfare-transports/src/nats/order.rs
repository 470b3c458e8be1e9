//! Orders the messages that the presence bucket republishes: each change of a room waits for the change before it.
//!
//! nats-server 2.9 stores a message under the stream's lock and republishes it after the lock, so the changes of two nodes may
//! arrive the wrong way round. Each republished message names the room's change before it (`Nats-Last-Sequence`). While a change waits,
//! the messages of nodes wait behind it: a node relies on receiving its probe after everything that was published before the probe.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use fanfare_cluster::ANSWER_TIMEOUT;
use tokio::time::Instant;

use super::{
    journal::{self, Window},
    protocol::ServerMessage,
};

/// How long a change waits for the one before it. The server republishes that one within microseconds, or never did. A probe that waits
/// behind it must not look lost.
const PATIENCE: Duration = ANSWER_TIMEOUT.checked_div(2).unwrap();
/// The most messages that wait.
const MOST_WAITING: usize = 1024;
/// The rooms of one generation. A room that has not changed while so many others have is forgotten: its next change does not wait.
const ROOMS: usize = 65_536;

/// Passes messages on, the changes of each room in order.
#[derive(Default)]
pub(super) struct Order {
    /// The stream of the journal, whose messages have an order of their own.
    journal: String,
    window: Window,
    /// Messages that arrived while messages of the journal waited, each with the highest number of these, which it must not overtake.
    behind: VecDeque<(u64, ServerMessage, bool)>,
    ready: VecDeque<ServerMessage>,
    /// Changes, and messages of nodes behind them.
    waiting: VecDeque<WaitingMessage>,
    hasher: RandomState,
    /// The last change of each room that was passed on. The rooms of `former` have not changed since `recent` was empty.
    recent: HashMap<RoomHash, u64>,
    former: HashMap<RoomHash, u64>,
}

/// A room's channel as one subscription receives it, hashed: a collision only makes a change wait in vain, or not wait.
type RoomHash = u64;

struct WaitingMessage {
    message: ServerMessage,
    change: Option<RoomChange>,
    until: Instant,
}

#[derive(Clone, Copy)]
struct RoomChange {
    room: RoomHash,
    sequence: u64,
    /// The room's change before it; 0 for none.
    previous: u64,
}

impl Order {
    pub(super) fn new(journal: String) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    /// The next message in order.
    pub(super) fn next(&mut self) -> Option<ServerMessage> {
        self.ready.pop_front()
    }

    /// Returns when the first waiting message is passed on in any case.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let change = self.waiting.front().map(|waiting| waiting.until);
        change.into_iter().chain(self.window.deadline()).min()
    }

    /// Takes a message that arrived `now`.
    pub(super) fn arrived(&mut self, message: ServerMessage, is_of_nodes: bool, now: Instant) {
        if let Some(number) = journal::number(&self.journal, &message) {
            self.window.arrived(number, message, now, &mut self.ready);
            self.pass_behind(now);
        } else if let Some(highest) = self.window.highest() {
            self.behind.push_back((highest, message, is_of_nodes));
        } else {
            self.arrived_besides(message, is_of_nodes, now);
        }
    }

    /// Passes on the messages that waited behind messages of the journal.
    fn pass_behind(&mut self, now: Instant) {
        while let Some((highest, ..)) = self.behind.front()
            && *highest <= self.window.last()
            && let Some((_, message, is_of_nodes)) = self.behind.pop_front()
        {
            self.arrived_besides(message, is_of_nodes, now);
        }
    }

    /// Takes a message that is not the journal's.
    fn arrived_besides(&mut self, message: ServerMessage, is_of_nodes: bool, now: Instant) {
        let change = self.change(&message);
        let must_wait = match change {
            Some(change) => self.last(change.room).is_some_and(|last| change.previous > last),
            None => is_of_nodes && !self.waiting.is_empty(),
        };
        if !must_wait {
            self.pass(message, change);
            return;
        }
        let until = now + PATIENCE;
        self.waiting.push_back(WaitingMessage {
            message,
            change,
            until,
        });
        if self.waiting.len() > MOST_WAITING {
            self.pass_first();
        }
    }

    /// Passes on the messages whose time is over at `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |waiting: &WaitingMessage| waiting.until <= now;
        while self.waiting.front().is_some_and(is_over) {
            self.pass_first();
        }
        self.window.expire(now, &mut self.ready);
        self.pass_behind(now);
    }

    /// Passes on all waiting messages, because no more arrive.
    pub(super) fn end(&mut self) {
        while !self.waiting.is_empty() {
            self.pass_first();
        }
        self.window.end(&mut self.ready);
        self.ready
            .extend(self.behind.drain(..).map(|(_, message, _)| message));
    }

    fn pass_first(&mut self) {
        if let Some(WaitingMessage { message, change, .. }) = self.waiting.pop_front() {
            self.pass(message, change);
        }
    }

    /// Passes on `message`, and the messages that wait for it.
    fn pass(&mut self, message: ServerMessage, change: Option<RoomChange>) {
        self.ready.push_back(message);
        let Some(change) = change else { return };
        // A record's first change may have a lower number than the last known: then the bucket was created again.
        let before = self.last(change.room).filter(|_| change.previous > 0);
        let mut last = change.sequence.max(before.unwrap_or(0));
        while let Some((next, message)) = self.take_waiting(change.room, last) {
            last = last.max(next.sequence);
            self.ready.push_back(message);
        }
        if self.recent.len() >= ROOMS {
            self.former = std::mem::take(&mut self.recent);
        }
        self.recent.insert(change.room, last);
        while self.waiting.front().is_some_and(|first| first.change.is_none()) {
            self.ready
                .extend(self.waiting.pop_front().map(|first| first.message));
        }
    }

    /// Takes the change of `room` that waits for no change after `last`.
    fn take_waiting(&mut self, room: RoomHash, last: u64) -> Option<(RoomChange, ServerMessage)> {
        let follows = |change: RoomChange| change.room == room && change.previous <= last;
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.change.is_some_and(follows))?;
        let waiting = self.waiting.remove(at)?;
        Some((waiting.change?, waiting.message))
    }

    fn last(&self, room: RoomHash) -> Option<u64> {
        self.recent.get(&room).or_else(|| self.former.get(&room)).copied()
    }

    fn change(&self, message: &ServerMessage) -> Option<RoomChange> {
        let number = |name| message.header(name)?.parse().ok();
        let (sequence, previous) = (number("Nats-Sequence")?, number("Nats-Last-Sequence")?);
        Some(RoomChange {
            room: self.hasher.hash_one((message.sid, &message.subject)),
            sequence,
            previous,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(sid: u64, subject: &'static str, sequence: u64, previous: u64) -> ServerMessage {
        let headers =
            format!("NATS/1.0\r\nNats-Sequence: {sequence}\r\nNats-Last-Sequence: {previous}\r\n\r\n");
        ServerMessage {
            sid,
            subject: subject.into(),
            headers: headers.into(),
            payload: sequence.to_string().into(),
        }
    }

    /// The payloads of what is passed on.
    fn passed(order: &mut Order) -> String {
        let mut passed = Vec::new();
        while let Some(message) = order.next() {
            passed.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
        passed.join(" ")
    }

    #[test]
    fn changes_of_a_room_are_put_in_order() {
        let now = Instant::now();
        let mut order = Order::default();
        for (sequence, previous, expected) in [
            (5, 4, "5"), // the first one seen waits for none
            (9, 8, ""),
            (8, 5, "8 9"),
            (14, 12, ""),
            (20, 14, ""),
            (12, 9, "12 14 20"),
            (30, 0, "30"), // the record was removed meanwhile
            (25, 20, "25"),
            (31, 30, "31"),
            (1, 0, "1"), // the bucket was made anew
            (3, 2, ""),
            (2, 1, "2 3"),
        ] {
            order.arrived(change(2, "r", sequence, previous), false, now);
            assert_eq!(passed(&mut order), expected, "{sequence}");
        }
    }

    #[test]
    fn rooms_subscriptions_and_other_messages_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut order = Order::default();
        let other = ServerMessage {
            headers: "".into(),
            ..change(2, "r", 0, 0)
        };
        for (message, expected) in [
            (change(2, "r", 5, 4), "5"),
            (change(2, "r", 9, 8), ""),
            (change(2, "s", 9, 8), "9"),
            (change(4, "r", 9, 8), "9"),
            (other, "0"),
            (change(2, "r", 8, 5), "8 9"),
        ] {
            order.arrived(message, false, now);
            assert_eq!(passed(&mut order), expected);
        }
    }

    #[test]
    fn what_nodes_send_overtakes_no_change_that_waits() {
        let now = Instant::now();
        let probe = |payload: &'static str| ServerMessage {
            headers: "".into(),
            payload: payload.into(),
            ..change(2, "fanfare.node.a", 0, 0)
        };
        let mut order = Order::default();
        order.arrived(probe("first"), true, now);
        for (sequence, previous) in [(5, 4), (9, 8)] {
            order.arrived(change(2, "r", sequence, previous), false, now);
        }
        order.arrived(probe("second"), true, now);
        order.arrived(change(4, "s", 6, 0), false, now);
        assert_eq!(passed(&mut order), "first 5 6");
        order.arrived(change(2, "r", 8, 5), false, now);
        assert_eq!(passed(&mut order), "8 9 second");
        // Behind two changes, of which one never comes.
        for (room, sequence, previous) in [("r", 20, 15), ("s", 21, 18)] {
            let sid = if room == "r" { 2 } else { 4 };
            order.arrived(change(sid, room, sequence, previous), false, now);
        }
        order.arrived(probe("third"), true, now);
        order.arrived(change(4, "s", 18, 6), false, now);
        assert_eq!(passed(&mut order), "18 21");
        order.expire(now + PATIENCE);
        assert_eq!(passed(&mut order), "20 third");
    }

    #[test]
    fn a_change_that_never_comes_is_not_waited_for_long() {
        let now = Instant::now();
        let mut order = Order::default();
        for (sequence, previous) in [(5, 4), (9, 8), (10, 9)] {
            order.arrived(change(2, "r", sequence, previous), false, now);
        }
        assert_eq!(passed(&mut order), "5");
        assert_eq!(order.deadline(), Some(now + PATIENCE));
        order.expire(now + PATIENCE / 2);
        assert_eq!(passed(&mut order), "");
        order.expire(now + PATIENCE);
        assert_eq!(passed(&mut order), "9 10");
        order.arrived(change(2, "r", 12, 11), false, now);
        order.end();
        assert_eq!(passed(&mut order), "12");
    }

    #[test]
    fn nothing_overtakes_what_waits_of_the_journal() {
        let now = Instant::now();
        let mut order = Order::new("J".to_owned());
        let kept = |number: u64| ServerMessage {
            headers: format!("NATS/1.0\r\nNats-Stream: J\r\nNats-Sequence: {number}\r\n\r\n").into(),
            ..change(2, "r", number, 0)
        };
        let other = |number: u64| ServerMessage {
            headers: "".into(),
            ..change(2, "r", number, 0)
        };
        order.arrived(other(1), false, now);
        order.arrived(kept(20), false, now);
        order.arrived(other(2), false, now);
        assert_eq!(passed(&mut order), "1");
        order.expire(order.deadline().unwrap_or(now));
        assert_eq!(passed(&mut order), "20 2");
        order.arrived(kept(22), false, now);
        order.arrived(other(3), false, now);
        order.arrived(kept(24), false, now);
        order.arrived(other(4), false, now);
        order.arrived(kept(21), false, now);
        assert_eq!(passed(&mut order), "21 22 3");
        order.end();
        assert_eq!(passed(&mut order), "24 4");
    }

    #[test]
    fn what_waits_and_what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut order = Order::default();
        order.arrived(change(2, "r", 1, 0), false, now);
        for sequence in 0..=MOST_WAITING as u64 {
            order.arrived(change(2, "r", 10 + 2 * sequence, 9 + 2 * sequence), false, now);
        }
        assert_eq!(passed(&mut order), "1 10");
        assert_eq!(order.waiting.len(), MOST_WAITING);
        let message = change(2, "r", 1, 0);
        for room in 0..3 * ROOMS as u64 {
            let change = RoomChange {
                room,
                sequence: 1,
                previous: 0,
            };
            order.pass(message.clone(), Some(change));
        }
        assert!(order.recent.len() + order.former.len() <= 2 * ROOMS);
    }
}
