//! Counts the work that a client causes its shard.
//!
//! Work is not timed: counting costs next to nothing, and has the same result on every machine. The unit is about a nanosecond of a
//! server's core. The costs are rounded from measurements; only their order of magnitude matters.

use fanfare_core::{Command, Message, Step};

/// The most work in one turn. The rest waits until the shard has polled its other sockets.
pub(super) const TURN: u64 = 100_000;
/// The share of a core (1 / `SHARE`) above which a connection must queue for its turns. Even a thousand connections below it do not
/// delay each other.
const SHARE: u64 = 400;

/// A poll of a socket: a system call or two.
pub(super) const POLL: u64 = 1_000;
/// A byte of a client's stream, which is read, unmasked and checked.
const BYTE: u64 = 1;
/// A frame of any kind.
const FRAME: u64 = 100;
/// A message that a conversation reads, and each of its bytes, which may be visited several times.
const MESSAGE: u64 = 500;
const MESSAGE_BYTE: u64 = 8;
/// A message to the client.
const SEND: u64 = 300;
/// A token, whose signature must be verified.
const AUTHENTICATE: u64 = 50_000;
/// One channel or pattern to subscribe to or to unsubscribe from, or a room.
const SUBSCRIPTION: u64 = 4_000;
const PUBLISH: u64 = 5_000;
/// A read of the journal.
const RESUME: u64 = 20_000;
const FACTS: u64 = 1_000;

/// Returns the work for `bytes` of a client's stream with the headers of `frames` frames.
pub(super) fn of_stream(bytes: usize, frames: u32) -> u64 {
    bytes as u64 * BYTE + u64::from(frames) * FRAME
}

/// Returns the work for a conversation to read `message`.
pub(super) fn of_message(message: Message<'_>) -> u64 {
    let bytes = match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    };
    MESSAGE + bytes as u64 * MESSAGE_BYTE
}

pub(super) fn of_step(step: &Step) -> u64 {
    match step {
        Step::Send(message) => SEND + message.payload().len() as u64 * BYTE,
        Step::Ask(command) => match command {
            Command::Authenticate(_) => AUTHENTICATE,
            Command::SubscribeBy { .. } => AUTHENTICATE + SUBSCRIPTION,
            Command::Subscribe {
                to: names, resume, ..
            } => names.len() as u64 * SUBSCRIPTION + resume.map_or(0, |_| RESUME),
            Command::Unsubscribe(names) => names.len() as u64 * SUBSCRIPTION,
            Command::Join { resume, .. } => SUBSCRIPTION + PUBLISH + resume.map_or(0, |_| RESUME),
            Command::Leave(_) => SUBSCRIPTION + PUBLISH,
            Command::Publish(_) => PUBLISH,
            Command::Resume(_) => RESUME,
            Command::Facts => FACTS,
        },
        Step::Pinged | Step::Timer(_) | Step::Pause | Step::Close(..) | Step::End(_) => 0,
    }
}

/// The recent work of a connection, which decays by one unit in [`SHARE`] nanoseconds.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RecentWork {
    /// The time at which it will have decayed to 0, in nanoseconds of the node's clock.
    decayed_at: u64,
}

impl RecentWork {
    /// Adds `work`, done at `now` in milliseconds of the node's clock.
    pub(super) fn add(&mut self, work: u64, now: u64) {
        let from = self.decayed_at.max(now * 1_000_000);
        self.decayed_at = from.saturating_add(work * SHARE);
    }

    /// Returns whether it is more than a whole turn's work at `now`, so that the connection must queue.
    pub(super) fn is_large(self, now: u64) -> bool {
        self.decayed_at >= now * 1_000_000 + TURN * SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_work_never_queues_a_connection() {
        // A message of 200 bytes, once in two milliseconds, for a minute.
        let mut recent_work = RecentWork::default();
        for now in (0..60_000).step_by(2) {
            recent_work.add(
                POLL + of_stream(206, 1) + of_message(Message::Binary(&[0; 200])),
                now,
            );
            assert!(!recent_work.is_large(now), "{now}");
        }
    }

    #[test]
    fn much_work_queues_a_connection_until_it_has_decayed() {
        let mut recent_work = RecentWork::default();
        recent_work.add(TURN - 1, 1_000);
        assert!(!recent_work.is_large(1_000));
        recent_work.add(TURN, 1_000);
        for (now, is_large) in [(1_000, true), (1_039, true), (1_041, false)] {
            assert_eq!(recent_work.is_large(now), is_large, "{now}");
        }
    }
}
