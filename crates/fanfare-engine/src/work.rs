//! The work that a client causes its shard, counted.
//!
//! Work is not timed: counting costs next to nothing and is the same on every machine. The unit is about a nanosecond of
//! a server's core. The prices are rounded from measurements; only their order of magnitude matters.

use fanfare_core::{Command, Message, Step};

/// The most work in one turn. The rest waits until the shard has looked at its other sockets.
pub(super) const TURN: u64 = 100_000;
/// A connection that uses more than this fraction of a core (1 / `SHARE`) waits in the queue. Even a thousand connections
/// that use less do not delay each other.
const SHARE: u64 = 400;

/// A look at a socket: a system call or two.
pub(super) const LOOK: u64 = 1_000;
/// A byte of a client's stream: read, unmasked, checked.
const BYTE: u64 = 1;
/// A frame of any kind.
const FRAME: u64 = 100;
/// A message that a conversation reads, and each of its bytes, which may be looked at several times.
const MESSAGE: u64 = 500;
const MESSAGE_BYTE: u64 = 8;
/// A message to the client.
const SEND: u64 = 300;
/// A token, which takes a signature to verify.
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

/// The recent work of a connection, which decreases over time: by one unit in [`SHARE`] nanoseconds.
///
/// A connection that owes more than a turn waits in the queue.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Debt {
    /// When all is paid off, in nanoseconds of the node's clock.
    paid_at: u64,
}

impl Debt {
    /// Adds `work`, done at `now` in milliseconds of the node's clock.
    pub(super) fn add(&mut self, work: u64, now: u64) {
        let from = self.paid_at.max(now * 1_000_000);
        self.paid_at = from.saturating_add(work * SHARE);
    }

    /// Returns whether other connections come first at `now`.
    pub(super) fn is_large(self, now: u64) -> bool {
        self.paid_at >= now * 1_000_000 + TURN * SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_work_makes_little_debt() {
        // A message of 200 bytes, once in two milliseconds, for a minute.
        let mut debt = Debt::default();
        for now in (0..60_000).step_by(2) {
            debt.add(
                LOOK + of_stream(206, 1) + of_message(Message::Binary(&[0; 200])),
                now,
            );
            assert!(!debt.is_large(now), "{now}");
        }
    }

    #[test]
    fn much_work_makes_debt_until_it_is_paid() {
        let mut debt = Debt::default();
        debt.add(TURN - 1, 1_000);
        assert!(!debt.is_large(1_000));
        debt.add(TURN, 1_000);
        for (now, is_large) in [(1_000, true), (1_039, true), (1_041, false)] {
            assert_eq!(debt.is_large(now), is_large, "{now}");
        }
    }
}
