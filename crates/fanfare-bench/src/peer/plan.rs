//! The description of a run: the server, the messages of the clients, and the work.

use std::net::SocketAddr;

use bytes::BytesMut;
use fanfare_ws::Opcode;
use serde::Deserialize;

use crate::client::{self, Upgrade};

/// A run against a server that already runs. In texts that clients send, a character is a byte, `{number}` is the
/// client's number in five digits, and `{token}` its token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    pub(super) clients: Script,
    pub(super) publishers: Option<Script>,
    pub(super) work: Work,
    /// The length of the measured period; the time before it, to warm up, is a tenth of it.
    pub(super) seconds: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Work {
    Handshakes,
    Idle,
    Traffic {
        /// Whether each message is for one client, in turn; otherwise it is for all.
        addressed: bool,
        pace: Pace,
    },
}

impl Work {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Idle => "idle connections",
            Self::Traffic { addressed: false, .. } => "fan-out",
            Self::Traffic { addressed: true, .. } => "unicast",
        }
    }
}

/// The time of the next publications.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pace {
    /// A closed loop with this number of messages in flight.
    InFlight(usize),
    /// An open loop: this number of messages a second, whether or not the earlier ones have arrived.
    PerSecond(f64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    pub(super) count: usize,
    /// The server's address for these clients, if it differs.
    pub(super) address: Option<SocketAddr>,
    #[serde(default)]
    pub(super) transport: Transport,
    #[serde(default)]
    target: String,
    /// The additional headers of the upgrade request.
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    opening: Vec<String>,
    /// A text in the server's last reply to a client's opening.
    pub(super) confirmation: Option<String>,
    /// A publisher's message, with `{mark}` once and any number of `{to}`, the receiver's number.
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    tokens: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transport {
    #[default]
    Text,
    Binary,
    /// A TCP connection without frames.
    Tcp,
}

impl Transport {
    /// Returns the bytes that carry `payload`.
    pub(super) fn carry(self, payload: &[u8]) -> BytesMut {
        match self {
            Self::Text => client::frame(Opcode::Text, payload),
            Self::Binary => client::frame(Opcode::Binary, payload),
            Self::Tcp => payload.into(),
        }
    }
}

impl Script {
    pub(super) fn upgrades(&self, address: SocketAddr) -> Result<Vec<Upgrade>, String> {
        let confirmation = self.confirmation.as_deref().map(bytes).transpose()?;
        let upgrade = |number| {
            let target = self.fill(&self.target, number);
            let headers: Vec<_> = self.headers.iter().map(|line| self.fill(line, number)).collect();
            let (frames, confirmation) = (self.opening(number)?, confirmation.clone());
            Ok(Upgrade::scripted(
                address,
                &target,
                &headers,
                frames,
                confirmation,
            ))
        };
        (0..self.count).map(upgrade).collect()
    }

    pub(super) fn opening(&self, number: usize) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        for text in &self.opening {
            all.extend(self.transport.carry(&bytes(&self.fill(text, number))?));
        }
        Ok(all)
    }

    fn fill(&self, text: &str, number: usize) -> String {
        let token = self.tokens.get(number).map_or("", String::as_str);
        text.replace("{number}", &digits(number))
            .replace("{token}", token)
    }
}

/// Returns a client's number as messages contain it.
pub(super) fn digits(number: usize) -> String {
    format!("{number:05}")
}

/// Returns the bytes that the characters of `text` encode.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let byte = |character| {
        u8::try_from(character).map_err(|_| format!("{character:?} is not one byte, in {text:?}"))
    };
    text.chars().map(byte).collect()
}

pub(super) struct Message(Vec<Piece>);

enum Piece {
    Bytes(Vec<u8>),
    Receiver,
    Mark,
}

impl Message {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((before, after)) = text.split_once("{mark}") else {
            return Err(format!("a message without {{mark}}: {text:?}"));
        };
        let mut pieces = Vec::new();
        for (half, last) in [(before, Piece::Mark), (after, Piece::Bytes(Vec::new()))] {
            for (nth, literal) in half.split("{to}").enumerate() {
                if nth > 0 {
                    pieces.push(Piece::Receiver);
                }
                pieces.push(Piece::Bytes(bytes(literal)?));
            }
            pieces.push(last);
        }
        Ok(Self(pieces))
    }

    pub(super) fn payload(&self, receiver: usize, mark: &[u8]) -> Vec<u8> {
        let mut payload = Vec::with_capacity(256);
        for piece in &self.0 {
            match piece {
                Piece::Bytes(literal) => payload.extend(literal),
                Piece::Receiver => payload.extend(digits(receiver).as_bytes()),
                Piece::Mark => payload.extend(mark),
            }
        }
        payload
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_contains_its_receiver_and_its_mark_at_the_plans_positions() {
        let message = Message::parse("\u{30}\u{ff} u.{to} {mark}xx{to}").unwrap();
        assert_eq!(message.payload(42, b"MARK"), b"0\xff u.00042 MARKxx00042");
        assert!(Message::parse("no mark").is_err());
        assert!(Message::parse("{mark}€").is_err());
    }

    #[test]
    fn a_plan_with_an_unknown_key_is_refused() {
        let plan =
            r#"{"address":"127.0.0.1:1","pid":1,"clients":{"count":1},"work":"idle","seconds":1,"rate":5}"#;
        assert!(
            serde_json::from_str::<Plan>(plan)
                .unwrap_err()
                .to_string()
                .contains("rate")
        );
    }
}
