//! Orders the messages that the journal's stream republishes.
//!
//! nats-server 2.9 stores a message under the stream's lock and republishes it after the lock, so the messages of two nodes may arrive
//! the wrong way round, within microseconds. A message that does not follow the one before it waits for a moment: one with a lower number
//! may be on its way, or may be of an audience that this node does not receive.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::nats::protocol::ServerMessage;

/// How long a message waits.
const WAIT: Duration = Duration::from_millis(5);
/// The most messages that wait.
const MOST_WAITING: usize = 4096;

/// The waiting messages, by their numbers. One message may arrive by two subscriptions.
#[derive(Default)]
pub(in crate::nats) struct Window {
    waiting: BTreeMap<u64, Vec<ServerMessage>>,
    deadlines: VecDeque<(Instant, u64)>,
    /// The highest number that was passed on.
    last: u64,
}

impl Window {
    /// Takes a `message` of this number that arrived `now`. Passes on the messages that need not wait.
    pub(in crate::nats) fn arrived(
        &mut self,
        number: u64,
        message: ServerMessage,
        now: Instant,
        ready: &mut VecDeque<ServerMessage>,
    ) {
        if number <= self.last {
            ready.push_back(message);
            return;
        }
        self.waiting.entry(number).or_default().push(message);
        self.deadlines.push_back((now + WAIT, number));
        if self.deadlines.len() > MOST_WAITING
            && let Some((_, number)) = self.deadlines.pop_front()
        {
            self.pass_up_to(number, ready);
        }
        self.pass_following(ready);
    }

    /// Returns the highest number that waits.
    pub(in crate::nats) fn highest(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|(number, _)| *number)
    }

    /// Returns the highest number that was passed on.
    pub(in crate::nats) fn last(&self) -> u64 {
        self.last
    }

    /// Returns when the first waiting message is passed on in any case.
    pub(in crate::nats) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Passes on the messages whose time is over at `now`, and those with lower numbers.
    pub(in crate::nats) fn expire(&mut self, now: Instant, ready: &mut VecDeque<ServerMessage>) {
        while let Some((until, number)) = self.deadlines.front().copied()
            && until <= now
        {
            self.deadlines.pop_front();
            self.pass_up_to(number, ready);
        }
        self.pass_following(ready);
    }

    /// Passes on all waiting messages.
    pub(in crate::nats) fn end(&mut self, ready: &mut VecDeque<ServerMessage>) {
        self.pass_up_to(u64::MAX, ready);
        self.deadlines.clear();
    }

    fn pass_up_to(&mut self, number: u64, ready: &mut VecDeque<ServerMessage>) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= number
        {
            self.last = self.last.max(*entry.key());
            ready.extend(entry.remove());
        }
    }

    /// Passes on the messages whose numbers follow the last without a hole.
    fn pass_following(&mut self, ready: &mut VecDeque<ServerMessage>) {
        while let Some(messages) = self.waiting.remove(&(self.last + 1)) {
            self.last += 1;
            ready.extend(messages);
        }
        while let Some((_, number)) = self.deadlines.front()
            && *number <= self.last
        {
            self.deadlines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> ServerMessage {
        ServerMessage {
            sid: 1,
            subject: "".into(),
            headers: "".into(),
            payload: number.to_string().into(),
        }
    }

    #[test]
    fn a_lower_number_is_waited_for_briefly() {
        let (now, mut window, mut ready) = (Instant::now(), Window::default(), VecDeque::new());
        let passed = |ready: &mut VecDeque<ServerMessage>| {
            let texts = ready
                .drain(..)
                .map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            texts.collect::<Vec<_>>().join(" ")
        };
        window.arrived(5, message(5), now, &mut ready);
        assert_eq!(
            (passed(&mut ready).as_str(), window.deadline()),
            ("", Some(now + WAIT))
        );
        window.expire(now + WAIT, &mut ready);
        assert_eq!((passed(&mut ready).as_str(), window.deadline()), ("5", None));
        for (number, expected) in [
            (6, "6"),
            (9, ""),
            (8, ""),
            (8, ""),
            (7, "7 8 8 9"),
            (8, "8"),
            (12, ""),
            (10, "10"),
        ] {
            window.arrived(number, message(number), now, &mut ready);
            assert_eq!(passed(&mut ready), expected, "{number}");
        }
        assert_eq!(window.deadline(), Some(now + WAIT));
        window.arrived(20, message(20), now + WAIT, &mut ready);
        window.expire(now + WAIT, &mut ready);
        assert_eq!(passed(&mut ready), "12");
        window.end(&mut ready);
        assert_eq!(passed(&mut ready), "20");
        for number in 0..=MOST_WAITING as u64 {
            window.arrived(100 + 2 * number, message(number), now, &mut ready);
        }
        assert_eq!(passed(&mut ready), "0");
    }
}
