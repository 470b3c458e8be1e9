//! What Fanfare's nodes say to each other on Redis besides events.
//!
//! A message is a line of JSON. Some have a body, which follows the line and is left as it is.

use bytes::Bytes;
use fanfare_core::Reach;
use serde::{Deserialize, Serialize};

/// All nodes listen here.
pub(super) const NODES: &str = "fanfare:nodes";
/// One node listens here; its id follows.
const NODE: &str = "fanfare:node:";

/// The channel of the node called `id`.
pub(super) fn channel_of(id: &str) -> String {
    format!("{NODE}{id}")
}

/// Whether `channel` is some node's.
pub(super) fn is_node(channel: &str) -> bool {
    channel.starts_with(NODE)
}

/// One message between nodes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Control {
    /// "Your publications of these numbers reached that many of my connections."
    Reach(Vec<Reached>),
    /// "Redis counts me among the listeners of these, but do not wait for me."
    Declined(Vec<u64>),
    /// "Everybody tell me when you have delivered and answered all that was published before this."
    Flush {
        /// Who asks.
        node: Box<str>,
        /// To be repeated in the answer.
        token: u64,
    },
    /// The answer to it.
    Flushed(u64),
    /// A node's question to itself: does this come back?
    Probe(u64),
    /// A node's mark for itself in what it hears.
    Mark(u64),
    /// "Everybody answer me what follows."
    Ask {
        /// Who asks.
        node: Box<str>,
        /// To be repeated in the answer.
        token: u64,
    },
    /// The answer to it follows.
    Answer(u64),
    /// "Do not wait for my answer."
    Unanswered(u64),
    /// A notice follows.
    Tell(Place),
    /// "You have missed nothing that you should have heard."
    Skip(Place),
    /// What a node that listens anew says to all, and one that has missed something to the one who told it.
    Hello(Hello),
}

/// A notice's place among those that one node tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Who tells it.
    pub(super) node: Box<str>,
    /// Which of the processes of that name.
    pub(super) run: u64,
    /// Who has heard what comes before this number has missed nothing,
    pub(super) after: u64,
    /// and what he hears next has this number.
    pub(super) next: u64,
}

/// How a node stands: "send me what I have not heard, and ask me for what you have not heard".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) node: Box<str>,
    pub(super) run: u64,
    /// The number of the notice that it tells next.
    pub(super) next: u64,
    /// For how long it has been there, in milliseconds.
    pub(super) age: u64,
    /// Of those that it has heard, by their `run`, the number of the notice that should come next.
    pub(super) heard: Vec<(u64, u64)>,
}

impl Control {
    /// The message, with a body if it has one.
    pub(super) fn write(&self, body: Option<&[u8]>) -> Vec<u8> {
        // Numbers and strings written to memory: there is nothing that could fail.
        let mut message = serde_json::to_vec(self).unwrap_or_default();
        if let Some(body) = body {
            message.reserve_exact(body.len() + 1);
            message.push(b'\n');
            message.extend_from_slice(body);
        }
        message
    }

    /// The message and its body.
    ///
    /// # Errors
    /// When it is none of these.
    pub(super) fn read(message: &Bytes) -> Result<(Self, Bytes), serde_json::Error> {
        let end = message.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(message.len());
        let control = serde_json::from_slice(&message[..end])?;
        Ok((control, message.slice(message.len().min(end + 1)..)))
    }
}

/// A publication's number; connections matched, queued and dropped.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Reached(pub(super) u64, u64, u64, u64);

impl Reached {
    pub(super) fn new(number: u64, reach: Reach) -> Self {
        Self(number, reach.matched, reach.queued, reach.dropped)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn reach(self) -> Reach {
        Reach {
            matched: self.1,
            queued: self.2,
            dropped: self.3,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nodes_of_two_versions_must_agree_on_these() {
        let reach = Reach {
            matched: 3,
            queued: 2,
            dropped: 1,
        };
        let place = Place {
            node: "n\n".into(),
            run: 1,
            after: 2,
            next: 4,
        };
        let hello = Hello {
            node: "n".into(),
            run: 1,
            next: 4,
            age: 1000,
            heard: vec![(7, 8)],
        };
        let cases = [
            (
                Control::Reach(vec![Reached::new(7, reach)]),
                r#"{"reach":[[7,3,2,1]]}"#,
            ),
            (
                Control::Flush {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"flush":{"node":"n","token":5}}"#,
            ),
            (Control::Declined(vec![7, 8]), r#"{"declined":[7,8]}"#),
            (Control::Flushed(5), r#"{"flushed":5}"#),
            (Control::Probe(9), r#"{"probe":9}"#),
            (Control::Mark(9), r#"{"mark":9}"#),
            (
                Control::Ask {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"ask":{"node":"n","token":5}}"#,
            ),
            (Control::Answer(5), r#"{"answer":5}"#),
            (Control::Unanswered(5), r#"{"unanswered":5}"#),
            (
                Control::Tell(place.clone()),
                r#"{"tell":{"node":"n\n","run":1,"after":2,"next":4}}"#,
            ),
            (
                Control::Skip(place),
                r#"{"skip":{"node":"n\n","run":1,"after":2,"next":4}}"#,
            ),
            (
                Control::Hello(hello),
                r#"{"hello":{"node":"n","run":1,"next":4,"age":1000,"heard":[[7,8]]}}"#,
            ),
        ];
        for (control, written) in cases {
            assert_eq!(serde_json::to_string(&control).unwrap(), written);
            for body in [None, Some("a \n\0 body"), Some("")] {
                let message = Bytes::from(control.write(body.map(str::as_bytes)));
                let (read, rest) = Control::read(&message).unwrap();
                assert_eq!(format!("{read:?}"), format!("{control:?}"));
                assert_eq!(rest, body.unwrap_or_default());
            }
        }
        assert_eq!(Reached::new(7, reach).reach(), reach);
        for bad in ["", "\n{}", "{\"mark\":9\n}", "{\"unheard\":\"of\"}\n"] {
            assert!(Control::read(&Bytes::from(bad)).is_err(), "{bad:?}");
        }
    }
}
