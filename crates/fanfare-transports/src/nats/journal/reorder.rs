//! Puts the messages that the journal's stream republishes in order.
//!
//! nats-server 2.9 stores a message under the stream's lock and republishes it after it has released the lock, so the messages of two nodes
//! may arrive in the wrong order, within microseconds. A message whose number does not follow the last one waits for a moment. The message
//! before it may arrive yet, or may be of an audience that this node does not receive.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::nats::protocol::ServerMessage;

/// The time that a message waits.
const WAIT: Duration = Duration::from_millis(5);
/// The most messages that wait.
const MOST_WAITING: usize = 4096;

/// The waiting messages, by their numbers. One message may arrive by two subscriptions.
#[derive(Default)]
pub(in crate::nats) struct ReorderBuffer {
    waiting: BTreeMap<u64, Vec<ServerMessage>>,
    deadlines: VecDeque<(Instant, u64)>,
    /// The highest number that was released.
    last: u64,
}

impl ReorderBuffer {
    /// Adds a message that arrived `now`. Releases the messages that need not wait.
    pub(in crate::nats) fn push(
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
            self.release_up_to(number, ready);
        }
        self.release_following(ready);
    }

    /// Returns the highest number that waits.
    pub(in crate::nats) fn highest(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|(number, _)| *number)
    }

    /// Returns the highest number that was released.
    pub(in crate::nats) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the time at which the first waiting message is released in any case.
    pub(in crate::nats) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Releases the messages that have waited long enough at `now`, and those with lower numbers.
    pub(in crate::nats) fn expire(&mut self, now: Instant, ready: &mut VecDeque<ServerMessage>) {
        while let Some((until, number)) = self.deadlines.front().copied()
            && until <= now
        {
            self.deadlines.pop_front();
            self.release_up_to(number, ready);
        }
        self.release_following(ready);
    }

    /// Releases all waiting messages.
    pub(in crate::nats) fn release_all(&mut self, ready: &mut VecDeque<ServerMessage>) {
        self.release_up_to(u64::MAX, ready);
        self.deadlines.clear();
    }

    fn release_up_to(&mut self, number: u64, ready: &mut VecDeque<ServerMessage>) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= number
        {
            self.last = self.last.max(*entry.key());
            ready.extend(entry.remove());
        }
    }

    /// Releases the messages whose numbers follow the last one without a hole.
    fn release_following(&mut self, ready: &mut VecDeque<ServerMessage>) {
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
    fn a_message_waits_briefly_for_a_lower_number() {
        let (now, mut buffer, mut ready) = (Instant::now(), ReorderBuffer::default(), VecDeque::new());
        let released = |ready: &mut VecDeque<ServerMessage>| {
            let texts = ready
                .drain(..)
                .map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            texts.collect::<Vec<_>>().join(" ")
        };
        buffer.push(5, message(5), now, &mut ready);
        assert_eq!(
            (released(&mut ready).as_str(), buffer.deadline()),
            ("", Some(now + WAIT))
        );
        buffer.expire(now + WAIT, &mut ready);
        assert_eq!((released(&mut ready).as_str(), buffer.deadline()), ("5", None));
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
            buffer.push(number, message(number), now, &mut ready);
            assert_eq!(released(&mut ready), expected, "{number}");
        }
        assert_eq!(buffer.deadline(), Some(now + WAIT));
        buffer.push(20, message(20), now + WAIT, &mut ready);
        buffer.expire(now + WAIT, &mut ready);
        assert_eq!(released(&mut ready), "12");
        buffer.release_all(&mut ready);
        assert_eq!(released(&mut ready), "20");
        for number in 0..=MOST_WAITING as u64 {
            buffer.push(100 + 2 * number, message(number), now, &mut ready);
        }
        assert_eq!(released(&mut ready), "0");
    }
}
