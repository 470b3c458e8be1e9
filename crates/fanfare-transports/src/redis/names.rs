//! The names of subjects and keys on Redis.

use std::fmt::Display;

use fanfare_cluster::{
    transport::{
        Subject,
        presence::{LeaseId, SlotName},
    },
    wire::{self, Rejected},
};
use fanfare_core::{Audience, Channel, history::Epoch};

use crate::{OpenError, checked_prefix};

/// The channel of all nodes.
const NODES: &str = "fanfare:nodes";
/// The channel of one node; its id follows.
const NODE: &str = "fanfare:node:";
/// A part of every key in a Cluster: the text between braces determines a key's slot.
const SLOT: &str = "{fanfare}";

/// Names with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: Box<str>,
    /// A part of every key.
    slot: &'static str,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Result<Self, OpenError> {
        Ok(Self {
            prefix: checked_prefix(prefix)?,
            slot: "",
        })
    }

    /// Returns names whose keys are all in one slot of a Redis Cluster.
    pub(super) fn in_one_slot(prefix: &str) -> Result<Self, OpenError> {
        if prefix.contains(['{', '}']) {
            let reason = "found a brace, which chooses the slot in a Redis Cluster; expected none";
            return Err(OpenError::setting("prefix", reason));
        }
        Ok(Self {
            slot: SLOT,
            ..Self::new(prefix)?
        })
    }

    pub(super) fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }

    fn key(&self, kind: &str, name: impl Display) -> String {
        format!("{}fanfare:{kind}{}{name}", self.prefix, self.slot)
    }

    /// Returns a key in the slot of all keys. It is never set.
    pub(super) fn hub(&self) -> String {
        self.key("id:", "")
    }

    /// Returns the key of a claimed id.
    pub(super) fn id(&self, id: &uuid::Uuid) -> String {
        self.key("id:", id.simple())
    }

    /// Returns the key of the table of leases.
    pub(super) fn leases(&self) -> String {
        self.key("leases", "")
    }

    /// Returns the key of the index of `lease`: the records that it may hold.
    pub(super) fn index(&self, lease: LeaseId) -> String {
        self.key("lease:", lease)
    }

    /// Returns the key of the members of `room`.
    pub(super) fn room(&self, room: &Channel) -> String {
        self.key("room:", room)
    }

    /// Returns the key of the places of `slot`.
    pub(super) fn slot(&self, slot: &SlotName) -> String {
        self.key("slot:", slot)
    }

    /// Returns the keys of the journal's state and of the audiences' last numbers, the beginning of the streams' names, and the key of the
    /// recorder's lease.
    pub(super) fn journal_keys(&self) -> [String; 4] {
        ["state", "tops", "", "recorder"].map(|name| self.key("journal:", name))
    }

    /// Returns the key of the stream of `audience` in this epoch.
    pub(super) fn stream(&self, epoch: Epoch, audience: &Audience) -> String {
        let audience = wire::redis_channel(audience);
        self.key("journal:", format_args!("{:016x}:{audience}", epoch.0))
    }

    /// Returns the prefix of every name.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the Redis channel of `subject`; for [`Subject::AllChannels`] and [`Subject::AllUsers`], a pattern.
    pub(super) fn channel(&self, subject: &Subject) -> String {
        let prefix = &self.prefix;
        match subject {
            Subject::Events => format!("{prefix}{}", wire::EVENTS),
            Subject::AllChannels => format!("{}{}*", escaped(prefix), wire::CHANNEL),
            Subject::AllUsers => format!("{}{}*", escaped(prefix), wire::USER),
            Subject::Nodes => format!("{prefix}{NODES}"),
            Subject::Node(node) => format!("{prefix}{NODE}{node}"),
            Subject::Audience(audience) => format!("{prefix}{}", wire::redis_channel(audience)),
        }
    }

    /// Returns the subject of a Redis channel.
    pub(super) fn subject(&self, channel: &str) -> Result<Subject, Rejected> {
        let name = channel.strip_prefix(&*self.prefix).ok_or(Rejected::BadChannel)?;
        if name == NODES {
            Ok(Subject::Nodes)
        } else if name == wire::EVENTS {
            Ok(Subject::Events)
        } else if let Some(node) = name.strip_prefix(NODE) {
            Ok(Subject::Node(node.into()))
        } else {
            wire::audience(name).map(Subject::Audience)
        }
    }
}

/// Returns a pattern that matches only `text`.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::{Audience, Channel, UserId};

    use super::*;

    #[test]
    fn names_and_subjects() {
        let cases = [
            (Subject::Audience(Audience::Everyone), "fanfare:everyone"),
            (Subject::Events, "fanfare:events"),
            (
                Subject::Audience(Audience::User(UserId::new("a:1").unwrap())),
                "user_noti:a:1",
            ),
            (
                Subject::Audience(Audience::Channel(Channel::new("a.b").unwrap())),
                "fanfare:channel:a.b",
            ),
            (Subject::Nodes, "fanfare:nodes"),
            (Subject::Node("n".into()), "fanfare:node:n"),
        ];
        for prefix in ["", "eu:", "a*[b]"] {
            let names = Names::new(prefix).unwrap();
            for (subject, name) in &cases {
                let channel = names.channel(subject);
                assert_eq!(channel, format!("{prefix}{name}"));
                assert_eq!(names.subject(&channel).as_ref(), Ok(subject));
            }
        }
        let all = Names::new("a*[b]\\").unwrap().channel(&Subject::AllChannels);
        assert_eq!(all, r"a\*\[b\]\\fanfare:channel:*");
        let names = Names::new("eu:").unwrap();
        assert_eq!(names.subject("fanfare:everyone"), Err(Rejected::BadChannel));
        assert_eq!(names.subject("eu:fanfare:channel:"), Err(Rejected::BadChannel));
        assert_eq!(
            names.subject("eu:fanfare:channel:notifications.user.1"),
            Err(Rejected::Personal)
        );
        let id = uuid::Uuid::from_u128(1);
        let names = Names::in_one_slot("eu:").unwrap();
        assert_eq!(names.hub(), "eu:fanfare:id:{fanfare}");
        assert_eq!(
            names.id(&id),
            "eu:fanfare:id:{fanfare}00000000000000000000000000000001"
        );
        for bad in ["{}", "{", "a}"] {
            assert!(Names::in_one_slot(bad).is_err(), "{bad}");
        }
        for bad in ["a b", "a\n", &"x".repeat(65)] {
            assert_eq!(Names::new(bad).err(), Some(OpenError::BadPrefix));
        }
    }
}
