//! The messages between nodes, besides events.
//!
//! A message is a line of JSON. Some have a body, which follows the line and is left as it is.

use bytes::Bytes;
use fanfare_core::Reach;
use serde::{Deserialize, Serialize};

use crate::transport::{Message, Subject};

/// One message between nodes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeMessage {
    /// The publications of these numbers reached that many of the node's connections.
    Reach(Vec<Reached>),
    /// The node is counted among the listeners of these, and has no connection for them.
    Declined(Vec<u64>),
    /// Asks every node to reply once all that was published before this is delivered and answered.
    Flush {
        /// The asking node.
        node: Box<str>,
        /// To be repeated in the answer.
        token: u64,
    },
    /// The reply to it.
    Flushed {
        /// The replying node.
        node: Box<str>,
        token: u64,
    },
    /// A node's message to itself, which shows that messages arrive.
    Probe(u64),
    /// A node's mark for itself in what it receives.
    Mark(u64),
    /// Reports whether a node receives; all others reply with their own report if it asks for that.
    Receives {
        /// The reporting node.
        node: Box<str>,
        receives: bool,
        reply: bool,
    },
    /// A node has ended.
    Ended { node: Box<str> },
    /// Asks every node the question in the body.
    Ask {
        /// The asking node.
        node: Box<str>,
        /// To be repeated in the answer.
        token: u64,
    },
    /// The answer to it is the body.
    Answer {
        /// The replying node.
        node: Box<str>,
        token: u64,
    },
    /// The node has no answer.
    Unanswered {
        /// The replying node.
        node: Box<str>,
        token: u64,
    },
    /// The body is a notice.
    Notice(NoticePlace),
    /// The node has missed none of the notices that it should receive.
    Skip(NoticePlace),
    /// Sent to all nodes by a node that begins to receive, and to a publisher of notices by a node that has missed one.
    Hello(Hello),
}

/// A notice's place among those that one node publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoticePlace {
    /// The publishing node.
    pub(crate) node: Box<str>,
    /// Distinguishes the processes of one name.
    pub(crate) run: u64,
    /// A node that has received all notices below this number has missed none.
    pub(crate) after: u64,
    /// The number of the notice that follows.
    pub(crate) next: u64,
}

/// The notices that a node has published and received. The receiver sends what is missing and asks for what it misses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) node: Box<str>,
    pub(crate) run: u64,
    /// The number of the notice that it publishes next.
    pub(crate) next: u64,
    /// For how long it has been there, in milliseconds.
    pub(crate) age: u64,
    /// For each publisher, by its `run`, the number of the notice that should come next.
    pub(crate) received: Vec<(u64, u64)>,
}

impl NodeMessage {
    /// The message to `subject`, with a body if it has one.
    pub(crate) fn to(&self, subject: Subject, body: Option<&[u8]>) -> Message {
        Message {
            subject,
            payload: self.write(body).into(),
            id: None,
        }
    }

    fn write(&self, body: Option<&[u8]>) -> Vec<u8> {
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
    pub(crate) fn read(message: &Bytes) -> Result<(Self, Bytes), serde_json::Error> {
        let end = message.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(message.len());
        let control = serde_json::from_slice(&message[..end])?;
        Ok((control, message.slice(message.len().min(end + 1)..)))
    }
}

/// A publication's number; connections matched, queued and dropped.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Reached(pub(crate) u64, u64, u64, u64);

impl Reached {
    pub(crate) fn new(number: u64, reach: Reach) -> Self {
        Self(number, reach.matched, reach.queued, reach.dropped)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn reach(self) -> Reach {
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
        let place = NoticePlace {
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
            received: vec![(7, 8)],
        };
        let cases = [
            (
                NodeMessage::Reach(vec![Reached::new(7, reach)]),
                r#"{"reach":[[7,3,2,1]]}"#,
            ),
            (
                NodeMessage::Flush {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"flush":{"node":"n","token":5}}"#,
            ),
            (NodeMessage::Declined(vec![7, 8]), r#"{"declined":[7,8]}"#),
            (
                NodeMessage::Flushed {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"flushed":{"node":"n","token":5}}"#,
            ),
            (
                NodeMessage::Ended { node: "n".into() },
                r#"{"ended":{"node":"n"}}"#,
            ),
            (
                NodeMessage::Receives {
                    node: "n".into(),
                    receives: true,
                    reply: false,
                },
                r#"{"receives":{"node":"n","receives":true,"reply":false}}"#,
            ),
            (NodeMessage::Probe(9), r#"{"probe":9}"#),
            (NodeMessage::Mark(9), r#"{"mark":9}"#),
            (
                NodeMessage::Ask {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"ask":{"node":"n","token":5}}"#,
            ),
            (
                NodeMessage::Answer {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"answer":{"node":"n","token":5}}"#,
            ),
            (
                NodeMessage::Unanswered {
                    node: "n".into(),
                    token: 5,
                },
                r#"{"unanswered":{"node":"n","token":5}}"#,
            ),
            (
                NodeMessage::Notice(place.clone()),
                r#"{"notice":{"node":"n\n","run":1,"after":2,"next":4}}"#,
            ),
            (
                NodeMessage::Skip(place),
                r#"{"skip":{"node":"n\n","run":1,"after":2,"next":4}}"#,
            ),
            (
                NodeMessage::Hello(hello),
                r#"{"hello":{"node":"n","run":1,"next":4,"age":1000,"received":[[7,8]]}}"#,
            ),
        ];
        for (control, written) in cases {
            assert_eq!(serde_json::to_string(&control).unwrap(), written);
            for body in [None, Some("a \n\0 body"), Some("")] {
                let message = Bytes::from(control.write(body.map(str::as_bytes)));
                let (read, rest) = NodeMessage::read(&message).unwrap();
                assert_eq!(format!("{read:?}"), format!("{control:?}"));
                assert_eq!(rest, body.unwrap_or_default());
            }
        }
        assert_eq!(Reached::new(7, reach).reach(), reach);
        for bad in ["", "\n{}", "{\"mark\":9\n}", "{\"unheard\":\"of\"}\n"] {
            assert!(NodeMessage::read(&Bytes::from(bad)).is_err(), "{bad:?}");
        }
    }
}
