//! What a connection's client makes its shard do, counted.
//!
//! Work is counted and not timed: counting costs next to nothing and is the same on every machine. The unit is about a
//! nanosecond of a server's core; the prices are rounded from measurements, and only their order of size matters.

use fanfare_core::{Command, Message, Step};

/// Work in one turn. What is left waits until the shard has looked at its other sockets.
pub(super) const TURN: u64 = 100_000;
/// A connection may use one part of a core in so many without standing in line: with a thousand connections that use less,
/// there is no crowd, and one that uses more is one of few or an attacker's.
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
/// Something that is sent to the client.
const SEND: u64 = 300;
/// A token, which takes a signature to verify.
const AUTHENTICATE: u64 = 50_000;
/// One channel or pattern to subscribe to or to unsubscribe from, or a room.
const SUBSCRIPTION: u64 = 4_000;
const PUBLISH: u64 = 5_000;
/// A look into the journal.
const RESUME: u64 = 20_000;
const FACTS: u64 = 1_000;

/// `bytes` of a client's stream with the headers of so many frames in them.
pub(super) fn of_stream(bytes: usize, frames: u32) -> u64 {
    bytes as u64 * BYTE + u64::from(frames) * FRAME
}

/// What a conversation does to read `message`.
pub(super) fn of_message(message: Message<'_>) -> u64 {
    let bytes = match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    };
    MESSAGE + bytes as u64 * MESSAGE_BYTE
}

/// What the server does for `step`.
pub(super) fn of_step(step: &Step) -> u64 {
    match step {
        Step::SendText(bytes) | Step::SendBinary(bytes) | Step::SendForms([bytes, _]) => {
            SEND + bytes.len() as u64 * BYTE
        }
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

/// What a connection still owes its shard for what it has done lately.
///
/// Each unit of work is paid off in [`SHARE`] nanoseconds. A connection that owes more than a turn stands in line.
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

    /// Whether so much is owed at `now` that others come first.
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
