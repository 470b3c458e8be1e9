//! A publisher at the Redis-protocol door.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::SystemTime};

use bytes::Bytes;
use fanfare_cluster::wire;
use fanfare_core::{Audience, DialectKind, Event, Options, RawJson};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, task::JoinHandle};

use crate::{
    FRAME_LEN, HEADER_LEN, client,
    frames::Counter,
    receivers::{Receivers, Tally},
};

pub(crate) struct Door {
    commands: OwnedWriteHalf,
    replies: Rc<Tally>,
    sums: Rc<ReplySums>,
    reading: JoinHandle<()>,
    sent: u64,
}

impl Door {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, String> {
        let (replies_from, commands) = client::connect(address).await?.into_split();
        let (replies, sums) = (Tally::new(), Rc::<ReplySums>::default());
        let counter = ReplyCounter {
            sums: sums.clone(),
            state: State::BetweenReplies,
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

    /// Sends `commands`, which are `count` results of [`publish`], without waiting for the replies.
    pub(crate) async fn send(&mut self, commands: &[u8], count: u64) -> Result<(), String> {
        self.sent += count;
        let sent = self.commands.write_all(commands).await;
        sent.map_err(|error| format!("publishing: {error}"))
    }

    /// Publishes one event to all of `receivers`, and waits until each has received it.
    pub(crate) async fn deliver(&mut self, command: &[u8], receivers: &Receivers) -> Result<(), String> {
        let goal = receivers.tally().units() + receivers.len() as u64;
        self.send(command, 1).await?;
        receivers.tally().wait_for(goal).await
    }

    pub(crate) fn replies(&self) -> u64 {
        self.replies.units()
    }

    /// Waits until at most this number of commands has no reply.
    pub(crate) async fn wait_for_replies(&self, unanswered: u64) -> Result<(), String> {
        let replies = self.replies.wait_for(self.sent.saturating_sub(unanswered)).await;
        replies.map_err(|error| format!("replies to PUBLISH: {error}"))
    }

    /// Waits for all replies; returns the number of deliveries that the server reports.
    pub(crate) async fn wait_for_all_replies(&self) -> Result<u64, String> {
        self.wait_for_replies(0).await?;
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

/// Returns the command that publishes an event to `audience`, whose frame in `dialect` has [`FRAME_LEN`] bytes.
pub(crate) fn publish(dialect: &DialectKind, audience: &Audience) -> Result<Vec<u8>, String> {
    let channel = wire::redis_channel(audience);
    let text = "x".repeat(payload_len(dialect, audience)?);
    let message = format!(r#"{{"type":"{KIND}","payload":"{text}"}}"#);
    let (channel_len, message_len) = (channel.len(), message.len());
    let command =
        format!("*3\r\n$7\r\nPUBLISH\r\n${channel_len}\r\n{channel}\r\n${message_len}\r\n{message}\r\n");
    Ok(command.into_bytes())
}

const KIND: &str = "bench";

/// Returns the length of the payload's text, without its quotes.
fn payload_len(dialect: &DialectKind, audience: &Audience) -> Result<usize, String> {
    let empty = RawJson::parse(&Bytes::from_static(b"\"\"")).map_err(|error| error.to_string())?;
    let event = Event::new(audience.clone(), Some(KIND), empty, SystemTime::now());
    let rendering = (dialect.open)(&Options::default()).render(&event);
    let around = rendering.map(|rendering| HEADER_LEN + rendering.payload().len());
    let len = around.and_then(|around| FRAME_LEN.checked_sub(around));
    let name = dialect.name;
    len.ok_or_else(|| format!("{name} cannot render an event for {audience:?} in {FRAME_LEN} bytes"))
}

#[derive(Default)]
struct ReplySums {
    deliveries: Cell<u64>,
    errors: Cell<u64>,
}

/// Reads the replies to `PUBLISH`: `:12` or `-ERR …`, a line each.
struct ReplyCounter {
    sums: Rc<ReplySums>,
    state: State,
}

enum State {
    BetweenReplies,
    Integer(u64),
    Error,
}

impl Counter for ReplyCounter {
    fn take(&mut self, bytes: &[u8]) -> u64 {
        let mut replies = 0;
        for byte in bytes {
            match (&mut self.state, byte) {
                (State::BetweenReplies, b':') => self.state = State::Integer(0),
                (State::BetweenReplies, b'-') => self.state = State::Error,
                (State::Integer(value), b'0'..=b'9') => *value = *value * 10 + u64::from(byte - b'0'),
                (State::Integer(value), b'\n') => {
                    self.sums.deliveries.set(self.sums.deliveries.get() + *value);
                    self.state = State::BetweenReplies;
                    replies += 1;
                }
                (State::Error, b'\n') => {
                    self.sums.errors.set(self.sums.errors.get() + 1);
                    self.state = State::BetweenReplies;
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
    use crate::subscriptions::Subscriptions;

    #[test]
    fn replies_are_summed_wherever_the_stream_is_cut() {
        let stream = b":3\r\n-ERR not-a:1 command\r\n:10000\r\n:0\r\n";
        for piece in 1..=stream.len() {
            let sums = Rc::<ReplySums>::default();
            let mut counter = ReplyCounter {
                sums: sums.clone(),
                state: State::BetweenReplies,
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
    fn a_publication_is_rendered_to_a_frame_of_the_fixed_length() {
        for subscriptions in [Subscriptions::Own, Subscriptions::Channel, Subscriptions::Pattern] {
            let (dialect, audience) = (
                subscriptions.dialect().unwrap(),
                subscriptions.audience().unwrap(),
            );
            let command = publish(dialect, &audience).unwrap();
            let message = command.split(|byte| *byte == b'\n').nth(6).unwrap().trim_ascii();
            let parsed = wire::parse_event(audience, &message.to_vec().into(), SystemTime::now());
            let dialect = (dialect.open)(&Options::default());
            let text = dialect.render(&parsed.unwrap().0).unwrap();
            let frame = fanfare_ws::encode::frame(fanfare_ws::Opcode::Text, text.payload(), false);
            assert_eq!(frame.len(), FRAME_LEN, "{subscriptions:?}");
        }
    }

    #[test]
    fn a_publication_to_a_user_is_a_command_in_the_redis_protocol() {
        let user = Audience::User(UserId::new("7").unwrap());
        let command = publish(Subscriptions::Own.dialect().unwrap(), &user).unwrap();
        assert!(command.starts_with(b"*3\r\n$7\r\nPUBLISH\r\n$11\r\nuser_noti:7\r\n$"));
    }
}
