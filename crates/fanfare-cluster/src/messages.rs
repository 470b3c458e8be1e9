//! The messages between nodes, except events.
//!
//! A message is a line of JSON. Some messages have a body after the line, as raw bytes.

use bytes::Bytes;
use fanfare_core::Reach;
use serde::{Deserialize, Serialize};

use crate::{
    transport::{Message, Subject},
    wire::Rejected,
};

/// One message between nodes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeMessage {
    /// The reach of publications among the replying node's connections.
    Reach(Vec<Reached>),
    /// The numbers of publications for which the replying node has no connection, although the transport counted it as a listener.
    Declined(Vec<u64>),
    /// Requests a reply of every node when it has delivered and acknowledged all earlier publications.
    Flush {
        /// The requesting node.
        node: Box<str>,
        /// Repeated in the reply.
        token: u64,
    },
    /// The reply to [`Self::Flush`].
    Flushed {
        /// The replying node.
        node: Box<str>,
        token: u64,
        #[serde(default)]
        connections: Connections,
    },
    /// A node's message to itself. It shows that messages arrive, or marks a position among the messages that the node receives.
    Probe(u64),
    /// The tick of the recorder's lease, and whether it is held (1) or vacant (0).
    Tick(u64, u8),
    /// A node's report about itself.
    Report(Report),
    /// A node has ended.
    Ended { node: Box<str> },
    /// Asks every node the question in the body.
    Ask {
        /// The requesting node.
        node: Box<str>,
        /// Repeated in the answer.
        token: u64,
    },
    /// The answer to [`Self::Ask`], in the body.
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
    Notice {
        /// The publishing node.
        node: Box<str>,
        /// Distinguishes the processes of one name.
        run: u64,
        /// The number of notices that the process published before this one.
        number: u64,
    },
    /// The next notice has this number, and none before it is missing.
    NextNotice { run: u64, number: u64 },
    /// Requests missed notices from their publisher.
    Missed(MissedNotices),
}

/// A node's report about itself, which it publishes at its start, when the report changes, and periodically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) node: Box<str>,
    /// Distinguishes the processes of one name.
    pub(crate) run: u64,
    /// Whether its subscriptions are in force.
    pub(crate) receives: bool,
    #[serde(default)]
    pub(crate) connections: Connections,
    /// The number of notices that it has published.
    pub(crate) notices: u64,
    /// Whether all other nodes reply with their reports.
    pub(crate) reply: bool,
}

/// The connections of a node. After a change of `receiving` the node may have missed events. After a change of `lost`, its replies may
/// be lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// The number of the receiving connection; 0 before the first.
    pub(crate) receiving: u64,
    /// The number of lost publishing connections.
    pub(crate) lost: u64,
}

/// The notices that a node has missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MissedNotices {
    pub(crate) node: Box<str>,
    /// The process that published them.
    pub(crate) run: u64,
    /// The number of the first one; `None` if the node has not received from that process.
    pub(crate) next: Option<u64>,
    /// The node's uptime in milliseconds. Older notices are not for it.
    pub(crate) age: u64,
}

impl NodeMessage {
    /// Returns the message to publish on `subject`, with its body if it has one.
    pub(crate) fn to(&self, subject: Subject, body: Option<&[u8]>) -> Message {
        Message {
            subject,
            payload: self.write(body).into(),
            id: None,
            keep: None,
        }
    }

    fn write(&self, body: Option<&[u8]>) -> Vec<u8> {
        // Numbers and strings in memory cannot fail to be written.
        let mut message = serde_json::to_vec(self).unwrap_or_default();
        if let Some(body) = body {
            message.reserve_exact(body.len() + 1);
            message.push(b'\n');
            message.extend_from_slice(body);
        }
        message
    }

    /// Parses a message. Returns it and its body.
    ///
    /// # Errors
    /// If it is not a message of these kinds.
    pub(crate) fn read(message: &Bytes) -> Result<(Self, Bytes), Rejected> {
        let end = message.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(message.len());
        let control = serde_json::from_slice(&message[..end]).map_err(|_| {
            let object = serde_json::from_slice::<serde_json::Map<_, _>>(&message[..end]);
            object.map_or(Rejected::NotOfNodes, |_| Rejected::OtherVersion)
        })?;
        Ok((control, message.slice(message.len().min(end + 1)..)))
    }
}

/// A publication's number, and the numbers of its matched, queued and dropped connections.
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

    /// Another version adds messages of its own; the form of these stays.
    #[test]
    fn nodes_of_two_versions_must_agree_on_these() {
        let reach = Reach {
            matched: 3,
            queued: 2,
            dropped: 1,
        };
        let reached = Reached::new(7, reach);
        let control = NodeMessage::Reach(vec![reached]);
        assert_eq!(control.write(None), br#"{"reach":[[7,3,2,1]]}"#);
        assert_eq!((reached.number(), reached.reach()), (7, reach));
        for written in [
            r#"{"reach":[[7,3,2,1]]}"#,
            r#"{"flush":{"node":"n","token":5}}"#,
            r#"{"declined":[7,8]}"#,
            r#"{"flushed":{"node":"n","token":5,"connections":{"receiving":2,"lost":1}}}"#,
            r#"{"ended":{"node":"n"}}"#,
            r#"{"report":{"node":"n\n","run":1,"receives":true,"connections":{"receiving":2,"lost":1},"notices":4,"reply":false}}"#,
            r#"{"probe":9}"#,
            r#"{"tick":[9,1]}"#,
            r#"{"ask":{"node":"n","token":5}}"#,
            r#"{"answer":{"node":"n","token":5}}"#,
            r#"{"unanswered":{"node":"n","token":5}}"#,
            r#"{"notice":{"node":"n","run":1,"number":4}}"#,
            r#"{"nextnotice":{"run":1,"number":4}}"#,
            r#"{"missed":{"node":"n","run":1,"next":4,"age":1000}}"#,
        ] {
            for body in [None, Some("a \n\0 body"), Some("")] {
                let message = body.map_or(written.to_owned(), |body| format!("{written}\n{body}"));
                let (control, rest) = NodeMessage::read(&Bytes::from(message.clone())).unwrap();
                assert_eq!(control.write(body.map(str::as_bytes)), message.as_bytes());
                assert_eq!(rest, body.unwrap_or_default());
            }
        }
    }

    #[test]
    fn what_another_version_adds_is_ignored_and_the_rest_is_counted() {
        for (bad, reason) in [
            ("", Rejected::NotOfNodes),
            ("\n{}", Rejected::NotOfNodes),
            ("{\"probe\":9\n}", Rejected::NotOfNodes),
            ("[5]", Rejected::NotOfNodes),
            ("{\"unheard\":\"of\"}\n", Rejected::OtherVersion),
            ("{\"probe\":\"9\"}", Rejected::OtherVersion),
            ("{\"tick\":[9,1,5]}", Rejected::OtherVersion),
        ] {
            assert_eq!(
                NodeMessage::read(&Bytes::from(bad)).err(),
                Some(reason),
                "{bad:?}"
            );
        }
        let later = br#"{"flushed":{"node":"n","token":5,"of a later version":[1]}}"#;
        assert!(NodeMessage::read(&Bytes::from_static(later)).is_ok());
    }
}
