//! A publisher at the Redis-protocol door.

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use fanfare_brokers::wire;
use fanfare_core::{Audience, timestamp};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, task::JoinHandle};

use super::{FRAME_LEN, HEADER_LEN, client, crowd::Tally, frames::Counter};

/// An open connection to the door, whose replies are read as they come.
pub(super) struct Door {
    commands: OwnedWriteHalf,
    replies: Rc<Tally>,
    sums: Rc<Sums>,
    reading: JoinHandle<()>,
    sent: u64,
}

impl Door {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let (replies_from, commands) = client::connect(address).await?.into_split();
        let (replies, sums) = (Tally::new(), Rc::<Sums>::default());
        let counter = ReplyCounter {
            sums: sums.clone(),
            state: State::Between,
        };
        let reading = tokio::task::spawn_local(replies.clone().read(replies_from, counter));
        Ok(Self {
            commands,
            replies,
            sums,
            reading,
            sent: 0,
        })
    }

    /// Sends `commands`, which are `count` of [`publish`]; does not wait for the answers.
    pub(super) async fn send(&mut self, commands: &[u8], count: u64) -> Result<(), String> {
        self.sent += count;
        let sent = self.commands.write_all(commands).await;
        sent.map_err(|error| format!("publishing: {error}"))
    }

    /// Waits for all answers; how many deliveries the server says there were.
    ///
    /// # Errors
    /// When an answer was an error, or is missing.
    pub(super) async fn settle(&self) -> Result<u64, String> {
        self.replies
            .until(self.sent)
            .await
            .map_err(|error| format!("answers to PUBLISH: {error}"))?;
        match self.sums.errors.get() {
            0 => Ok(self.sums.deliveries.get()),
            errors => Err(format!("{errors} publications were answered with an error")),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// The command that publishes to `audience` so that a client is sent [`FRAME_LEN`] bytes.
pub(super) fn publish(audience: &Audience) -> Vec<u8> {
    let channel = wire::redis_channel(audience);
    let message = format!(r#"{{"type":"{KIND}","payload":"{}"}}"#, "x".repeat(payload_len()));
    let (channel_len, message_len) = (channel.len(), message.len());
    format!("*3\r\n$7\r\nPUBLISH\r\n${channel_len}\r\n{channel}\r\n${message_len}\r\n{message}\r\n")
        .into_bytes()
}

const KIND: &str = "notification";

/// The length of the payload's text, without its quotes.
fn payload_len() -> usize {
    let now = timestamp(std::time::SystemTime::now());
    let around = format!(r#"{{"type":"{KIND}","payload":"","timestamp":"{now}"}}"#);
    FRAME_LEN - HEADER_LEN - around.len()
}

/// What the answers said.
#[derive(Default)]
struct Sums {
    deliveries: Cell<u64>,
    errors: Cell<u64>,
}

/// Reads answers to `PUBLISH`: `:12` or `-ERR …`, a line each.
struct ReplyCounter {
    sums: Rc<Sums>,
    state: State,
}

enum State {
    Between,
    Integer(u64),
    Error,
}

impl Counter for ReplyCounter {
    fn take(&mut self, bytes: &[u8]) -> u64 {
        let mut replies = 0;
        for byte in bytes {
            match (&mut self.state, byte) {
                (State::Between, b':') => self.state = State::Integer(0),
                (State::Between, b'-') => self.state = State::Error,
                (State::Integer(value), b'0'..=b'9') => *value = *value * 10 + u64::from(byte - b'0'),
                (State::Integer(value), b'\n') => {
                    self.sums.deliveries.set(self.sums.deliveries.get() + *value);
                    self.state = State::Between;
                    replies += 1;
                }
                (State::Error, b'\n') => {
                    self.sums.errors.set(self.sums.errors.get() + 1);
                    self.state = State::Between;
                    replies += 1;
                }
                _ => {}
            }
        }
        replies
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fanfare_core::UserId;

    use super::*;

    #[test]
    fn answers_are_summed_however_they_are_cut() {
        let stream = b":3\r\n-ERR not-a:1 command\r\n:10000\r\n:0\r\n";
        for piece in 1..=stream.len() {
            let sums = Rc::<Sums>::default();
            let mut counter = ReplyCounter {
                sums: sums.clone(),
                state: State::Between,
            };
            let replies: u64 = stream.chunks(piece).map(|bytes| counter.take(bytes)).sum();
            assert_eq!(
                (replies, sums.deliveries.get(), sums.errors.get()),
                (4, 10_003, 1),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_publication_is_rendered_to_frames_of_the_promised_length() {
        let everyone = publish(&Audience::Everyone);
        let message = everyone.split(|byte| *byte == b'\n').nth(6).unwrap().trim_ascii();
        let parsed = wire::parse_message(
            wire::EVERYONE.as_bytes(),
            &message.to_vec().into(),
            std::time::SystemTime::now(),
        );
        let (_, notify) = fanfare_dialects::find("notify").unwrap();
        let notify = notify.open(&fanfare_core::Options::default());
        let text = notify.render(&parsed.unwrap()[0]).unwrap();
        assert_eq!(
            crate::ws::encode::frame(crate::ws::Opcode::Text, &text, false).len(),
            FRAME_LEN
        );
    }

    #[test]
    fn a_publication_is_a_command_in_redis_form() {
        let user = Audience::User(UserId::new("7").unwrap());
        assert!(publish(&user).starts_with(b"*3\r\n$7\r\nPUBLISH\r\n$11\r\nuser_noti:7\r\n$"));
    }
}
