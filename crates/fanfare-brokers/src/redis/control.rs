//! What Fanfare's nodes say to each other on Redis besides events.

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
        ];
        for (control, written) in cases {
            assert_eq!(serde_json::to_string(&control).unwrap(), written);
            let read: Control = serde_json::from_str(written).unwrap();
            assert_eq!(format!("{read:?}"), format!("{control:?}"));
        }
        assert_eq!(Reached::new(7, reach).reach(), reach);
    }
}
