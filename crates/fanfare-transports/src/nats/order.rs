//! Puts republished messages in order: each change of a room waits for the change before it.
//!
//! nats-server 2.9 stores a message under the stream's lock and republishes it after it has released the lock, so the changes of two nodes
//! may arrive in the wrong sequencer. Each republished message names the room's change before it (`Nats-Last-Sequence`). While a change waits,
//! the messages of nodes wait behind it: a node relies on receiving its probe after everything that was published before the probe.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use fanfare_cluster::ANSWER_TIMEOUT;
use tokio::time::Instant;

use super::{
    journal::{self, ReorderBuffer},
    protocol::ServerMessage,
};

/// The time that a change waits for the one before it, which the server republishes within microseconds or not at all. A probe that waits
/// behind the change must not appear lost.
const PATIENCE: Duration = ANSWER_TIMEOUT.checked_div(2).unwrap();
/// The most messages that wait.
const MOST_WAITING: usize = 1024;
/// The rooms of one generation. A room is forgotten if it did not change while this many others did: its next change does not wait.
const ROOMS: usize = 65_536;

/// Releases the messages of one connection in sequencer.
#[derive(Default)]
pub(super) struct Sequencer {
    /// The name of the journal's stream.
    journal: String,
    journal_messages: ReorderBuffer,
    /// The messages that arrived while messages of the journal waited, each with the highest number of these, which it must not overtake.
    behind_journal: VecDeque<(u64, ServerMessage, bool)>,
    ready: VecDeque<ServerMessage>,
    /// The waiting changes, and the messages of nodes behind them.
    waiting: VecDeque<WaitingMessage>,
    hasher: RandomState,
    /// The last released change of each room. The rooms of `former` have not changed since `recent` was empty.
    recent: HashMap<RoomHash, u64>,
    former: HashMap<RoomHash, u64>,
}

/// The hash of a subscription and a room's channel. A collision only makes a change wait in vain, or not wait.
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
    /// The number of the room's change before it; 0 for none.
    previous: u64,
}

impl Sequencer {
    pub(super) fn new(journal: String) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    /// Returns the next released message.
    pub(super) fn next(&mut self) -> Option<ServerMessage> {
        self.ready.pop_front()
    }

    /// Returns the time at which the first waiting message is released in any case.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let change = self.waiting.front().map(|waiting| waiting.until);
        change.into_iter().chain(self.journal_messages.deadline()).min()
    }

    /// Adds a message that arrived `now`.
    pub(super) fn push(&mut self, message: ServerMessage, is_of_nodes: bool, now: Instant) {
        if let Some(number) = journal::number(&self.journal, &message) {
            self.journal_messages.push(number, message, now, &mut self.ready);
            self.release_behind_journal(now);
        } else if let Some(highest) = self.journal_messages.highest() {
            self.behind_journal.push_back((highest, message, is_of_nodes));
        } else {
            self.push_other(message, is_of_nodes, now);
        }
    }

    /// Releases the messages that no longer wait behind messages of the journal.
    fn release_behind_journal(&mut self, now: Instant) {
        while let Some((highest, ..)) = self.behind_journal.front()
            && *highest <= self.journal_messages.last()
            && let Some((_, message, is_of_nodes)) = self.behind_journal.pop_front()
        {
            self.push_other(message, is_of_nodes, now);
        }
    }

    /// Adds a message that is not the journal's.
    fn push_other(&mut self, message: ServerMessage, is_of_nodes: bool, now: Instant) {
        let change = self.change(&message);
        let must_wait = match change {
            Some(change) => self.last(change.room).is_some_and(|last| change.previous > last),
            None => is_of_nodes && !self.waiting.is_empty(),
        };
        if !must_wait {
            self.release(message, change);
            return;
        }
        let until = now + PATIENCE;
        self.waiting.push_back(WaitingMessage {
            message,
            change,
            until,
        });
        if self.waiting.len() > MOST_WAITING {
            self.release_first();
        }
    }

    /// Releases the messages that have waited long enough at `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |waiting: &WaitingMessage| waiting.until <= now;
        while self.waiting.front().is_some_and(is_over) {
            self.release_first();
        }
        self.journal_messages.expire(now, &mut self.ready);
        self.release_behind_journal(now);
    }

    /// Releases all waiting messages, because no more arrive.
    pub(super) fn release_all(&mut self) {
        while !self.waiting.is_empty() {
            self.release_first();
        }
        self.journal_messages.release_all(&mut self.ready);
        let behind = self.behind_journal.drain(..);
        self.ready.extend(behind.map(|(_, message, _)| message));
    }

    fn release_first(&mut self) {
        if let Some(WaitingMessage { message, change, .. }) = self.waiting.pop_front() {
            self.release(message, change);
        }
    }

    /// Releases `message`, and the messages that wait for it.
    fn release(&mut self, message: ServerMessage, change: Option<RoomChange>) {
        self.ready.push_back(message);
        let Some(change) = change else { return };
        // If the first change of a record has a lower number than the last known one, the bucket was created again.
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

    /// Removes and returns a waiting change of `room` that needs no change after `last`.
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

    /// Returns the payloads of the released messages.
    fn released(sequencer: &mut Sequencer) -> String {
        let mut released = Vec::new();
        while let Some(message) = sequencer.next() {
            released.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
        released.join(" ")
    }

    #[test]
    fn changes_of_a_room_are_put_in_order() {
        let now = Instant::now();
        let mut sequencer = Sequencer::default();
        for (sequence, previous, expected) in [
            (5, 4, "5"), // the first change waits for none
            (9, 8, ""),
            (8, 5, "8 9"),
            (14, 12, ""),
            (20, 14, ""),
            (12, 9, "12 14 20"),
            (30, 0, "30"), // the record was removed meanwhile
            (25, 20, "25"),
            (31, 30, "31"),
            (1, 0, "1"), // the bucket was created again
            (3, 2, ""),
            (2, 1, "2 3"),
        ] {
            sequencer.push(change(2, "r", sequence, previous), false, now);
            assert_eq!(released(&mut sequencer), expected, "{sequence}");
        }
    }

    #[test]
    fn rooms_and_subscriptions_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut sequencer = Sequencer::default();
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
            sequencer.push(message, false, now);
            assert_eq!(released(&mut sequencer), expected);
        }
    }

    #[test]
    fn messages_of_nodes_overtake_no_waiting_change() {
        let now = Instant::now();
        let probe = |payload: &'static str| ServerMessage {
            headers: "".into(),
            payload: payload.into(),
            ..change(2, "fanfare.node.a", 0, 0)
        };
        let mut sequencer = Sequencer::default();
        sequencer.push(probe("first"), true, now);
        for (sequence, previous) in [(5, 4), (9, 8)] {
            sequencer.push(change(2, "r", sequence, previous), false, now);
        }
        sequencer.push(probe("second"), true, now);
        sequencer.push(change(4, "s", 6, 0), false, now);
        assert_eq!(released(&mut sequencer), "first 5 6");
        sequencer.push(change(2, "r", 8, 5), false, now);
        assert_eq!(released(&mut sequencer), "8 9 second");
        // Two changes wait, and one of them waits in vain.
        for (room, sequence, previous) in [("r", 20, 15), ("s", 21, 18)] {
            let sid = if room == "r" { 2 } else { 4 };
            sequencer.push(change(sid, room, sequence, previous), false, now);
        }
        sequencer.push(probe("third"), true, now);
        sequencer.push(change(4, "s", 18, 6), false, now);
        assert_eq!(released(&mut sequencer), "18 21");
        sequencer.expire(now + PATIENCE);
        assert_eq!(released(&mut sequencer), "20 third");
    }

    #[test]
    fn a_change_waits_in_vain_for_a_limited_time() {
        let now = Instant::now();
        let mut sequencer = Sequencer::default();
        for (sequence, previous) in [(5, 4), (9, 8), (10, 9)] {
            sequencer.push(change(2, "r", sequence, previous), false, now);
        }
        assert_eq!(released(&mut sequencer), "5");
        assert_eq!(sequencer.deadline(), Some(now + PATIENCE));
        sequencer.expire(now + PATIENCE / 2);
        assert_eq!(released(&mut sequencer), "");
        sequencer.expire(now + PATIENCE);
        assert_eq!(released(&mut sequencer), "9 10");
        sequencer.push(change(2, "r", 12, 11), false, now);
        sequencer.release_all();
        assert_eq!(released(&mut sequencer), "12");
    }

    #[test]
    fn no_message_overtakes_waiting_messages_of_the_journal() {
        let now = Instant::now();
        let mut sequencer = Sequencer::new("J".to_owned());
        let kept = |number: u64| ServerMessage {
            headers: format!("NATS/1.0\r\nNats-Stream: J\r\nNats-Sequence: {number}\r\n\r\n").into(),
            ..change(2, "r", number, 0)
        };
        let other = |number: u64| ServerMessage {
            headers: "".into(),
            ..change(2, "r", number, 0)
        };
        sequencer.push(other(1), false, now);
        sequencer.push(kept(20), false, now);
        sequencer.push(other(2), false, now);
        assert_eq!(released(&mut sequencer), "1");
        sequencer.expire(sequencer.deadline().unwrap_or(now));
        assert_eq!(released(&mut sequencer), "20 2");
        sequencer.push(kept(22), false, now);
        sequencer.push(other(3), false, now);
        sequencer.push(kept(24), false, now);
        sequencer.push(other(4), false, now);
        sequencer.push(kept(21), false, now);
        assert_eq!(released(&mut sequencer), "21 22 3");
        sequencer.release_all();
        assert_eq!(released(&mut sequencer), "24 4");
    }

    #[test]
    fn waiting_messages_and_remembered_rooms_are_limited() {
        let now = Instant::now();
        let mut sequencer = Sequencer::default();
        sequencer.push(change(2, "r", 1, 0), false, now);
        for sequence in 0..=MOST_WAITING as u64 {
            sequencer.push(change(2, "r", 10 + 2 * sequence, 9 + 2 * sequence), false, now);
        }
        assert_eq!(released(&mut sequencer), "1 10");
        assert_eq!(sequencer.waiting.len(), MOST_WAITING);
        let message = change(2, "r", 1, 0);
        for room in 0..3 * ROOMS as u64 {
            let change = RoomChange {
                room,
                sequence: 1,
                previous: 0,
            };
            sequencer.release(message.clone(), Some(change));
        }
        assert!(sequencer.recent.len() + sequencer.former.len() <= 2 * ROOMS);
    }
}
