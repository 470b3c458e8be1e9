//! The names of subjects and buckets on NATS.
//!
//! A name becomes tokens of a NATS subject. Characters other than `A-Z a-z 0-9 _ -` are percent-encoded, so that no name can contain a
//! wildcard or end a token. A channel's `.` separates tokens; every other name is one token. Each name has one spelling.

use std::fmt::Write as _;

use fanfare_cluster::{
    transport::Subject,
    wire::{self, Rejected},
};
use fanfare_core::{Audience, UserId};

use crate::{OpenError, checked_prefix};

const EVERYONE: &str = "fanfare.everyone";
const EVENTS: &str = "fanfare.events";
/// The subject of all nodes.
const NODES: &str = "fanfare.nodes";
/// Events for a user; the user's id follows.
const USER: &str = "user_noti.";
/// Events for a channel; its name follows.
const CHANNEL: &str = "fanfare.channel.";
/// The subject of one node; its id follows.
const NODE: &str = "fanfare.node.";

const BAD_PREFIX: &str = "expected the beginning of a NATS subject such as \"eu.\": without empty tokens, `*` and `>`, and not a \
                          beginning of NATS' own subjects (`$`, `_INBOX`)";

/// Names with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: Box<str>,
}

impl Names {
    /// # Errors
    /// If `prefix` is no valid beginning of a subject, or begins one of the server's own subjects.
    pub(super) fn new(prefix: &str) -> Result<Self, OpenError> {
        let checked = checked_prefix(prefix)?;
        let is_own = prefix.starts_with('$') || prefix.starts_with("_INBOX");
        let has_empty_token = prefix.starts_with('.') || prefix.contains("..");
        if is_own || has_empty_token || prefix.contains(['*', '>']) {
            return Err(OpenError::setting("prefix", BAD_PREFIX));
        }
        Ok(Self { prefix: checked })
    }

    /// Returns the NATS subject of `subject`; for [`Subject::AllChannels`] and [`Subject::AllUsers`], a wildcard.
    pub(super) fn subject(&self, subject: &Subject) -> String {
        let mut name = self.prefix.to_string();
        match subject {
            Subject::Audience(Audience::Everyone) => name.push_str(EVERYONE),
            Subject::Audience(Audience::User(user)) => {
                name.push_str(USER);
                encode(user, "", &mut name);
            }
            Subject::Audience(Audience::Channel(channel)) => {
                name.push_str(CHANNEL);
                encode(channel, ".", &mut name);
            }
            Subject::Events => name.push_str(EVENTS),
            Subject::AllChannels => {
                name.push_str(CHANNEL);
                name.push('>');
            }
            Subject::AllUsers => {
                name.push_str(USER);
                name.push('>');
            }
            Subject::Nodes => name.push_str(NODES),
            Subject::Node(node) => {
                name.push_str(NODE);
                encode(node, "", &mut name);
            }
        }
        name
    }

    /// Reads the NATS subject `name`, to which this node is subscribed.
    ///
    /// # Errors
    /// If it has another prefix, or not the spelling of [`Self::subject`]: no other node would receive it.
    pub(super) fn read(&self, name: &[u8]) -> Result<Subject, Rejected> {
        let name = std::str::from_utf8(name).map_err(|_| Rejected::BadChannel)?;
        let rest = name.strip_prefix(&*self.prefix).ok_or(Rejected::BadChannel)?;
        let subject = match rest {
            EVERYONE => Subject::Audience(Audience::Everyone),
            EVENTS => Subject::Events,
            NODES => Subject::Nodes,
            _ => read_parameterized(rest)?,
        };
        if self.subject(&subject) == name {
            Ok(subject)
        } else {
            Err(Rejected::BadChannel)
        }
    }

    /// Returns whether only nodes publish on the NATS subject `name`.
    pub(super) fn is_of_nodes(&self, name: &[u8]) -> bool {
        let rest = name.strip_prefix(self.prefix.as_bytes());
        rest.is_some_and(|rest| rest == NODES.as_bytes() || rest.starts_with(NODE.as_bytes()))
    }

    /// Returns the beginning of all channels' subjects, without the dot at its end.
    pub(super) fn channels(&self) -> String {
        format!("{}{}", self.prefix, CHANNEL.trim_end_matches('.'))
    }

    /// Returns the name of a bucket: the encoded prefix and `name`. Names of buckets allow fewer characters than subjects.
    pub(super) fn bucket(&self, name: &str) -> String {
        let mut bucket = String::new();
        for byte in self.prefix.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                bucket.push(char::from(byte));
            } else {
                let _ = write!(bucket, "_{byte:02X}");
            }
        }
        bucket.push_str(name);
        bucket
    }
}

/// Reads the name of a user, a channel or a node.
fn read_parameterized(rest: &str) -> Result<Subject, Rejected> {
    if let Some(id) = rest.strip_prefix(USER) {
        let id = decode(id).ok_or(Rejected::BadUser)?;
        let user = UserId::new(&id).map_err(|_| Rejected::BadUser)?;
        Ok(Subject::Audience(Audience::User(user)))
    } else if let Some(channel) = rest.strip_prefix(CHANNEL) {
        let channel = decode(channel).ok_or(Rejected::BadChannel)?;
        // Rejects a user's personal channel, too.
        wire::audience(&format!("{}{channel}", wire::CHANNEL)).map(Subject::Audience)
    } else if let Some(node) = rest.strip_prefix(NODE) {
        let node = decode(node).ok_or(Rejected::BadChannel)?;
        Ok(Subject::Node(node.into()))
    } else {
        Err(Rejected::BadChannel)
    }
}

/// Appends `name` to `tokens`. Characters other than letters, digits, `_`, `-` and those of `plain` become `%` and two hex digits.
pub(super) fn encode(name: &str, plain: &str, tokens: &mut String) {
    for byte in name.bytes() {
        let is_plain =
            byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || plain.as_bytes().contains(&byte);
        if is_plain {
            tokens.push(char::from(byte));
        } else {
            let _ = write!(tokens, "%{byte:02X}");
        }
    }
}

/// Reads a name that [`encode`] wrote.
pub(super) fn decode(tokens: &str) -> Option<String> {
    let name = percent_encoding::percent_decode_str(tokens).decode_utf8();
    name.ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fanfare_core::Channel;

    use super::*;

    fn channel(name: &str) -> Subject {
        Subject::Audience(Audience::Channel(Channel::new(name).unwrap()))
    }

    fn user(id: &str) -> Subject {
        Subject::Audience(Audience::User(UserId::new(id).unwrap()))
    }

    #[test]
    fn names_and_subjects() {
        let cases = [
            (
                Subject::Audience(Audience::Everyone),
                "fanfare.everyone".to_owned(),
            ),
            (Subject::Events, "fanfare.events".to_owned()),
            (user("a-Z_09"), "user_noti.a-Z_09".to_owned()),
            (user("a.b:c d"), "user_noti.a%2Eb%3Ac%20d".to_owned()),
            (user(">"), "user_noti.%3E".to_owned()),
            (user("*.>"), "user_noti.%2A%2E%3E".to_owned()),
            (user("%2E"), "user_noti.%252E".to_owned()),
            (user("\u{e9}\u{1f3ba}"), "user_noti.%C3%A9%F0%9F%8E%BA".to_owned()),
            (user(&"%".repeat(255)), format!("user_noti.{}", "%25".repeat(255))),
            (channel("a.b:c"), "fanfare.channel.a.b%3Ac".to_owned()),
            (channel("a b.\u{e9}"), "fanfare.channel.a%20b.%C3%A9".to_owned()),
            (Subject::Nodes, "fanfare.nodes".to_owned()),
            (Subject::Node("n.1".into()), "fanfare.node.n%2E1".to_owned()),
        ];
        for prefix in ["", "eu.", "eu:", "a%b-"] {
            let names = Names::new(prefix).unwrap();
            for (subject, expected) in &cases {
                let name = names.subject(subject);
                assert_eq!(name, format!("{prefix}{expected}"));
                assert_eq!(names.read(name.as_bytes()).as_ref(), Ok(subject));
            }
        }
        let all = Names::new("eu.").unwrap().subject(&Subject::AllChannels);
        assert_eq!(all, "eu.fanfare.channel.>");
    }

    #[test]
    fn a_name_has_one_spelling() {
        let names = Names::new("eu.").unwrap();
        for (name, rejected) in [
            ("fanfare.everyone", Rejected::BadChannel),
            ("eu.fanfare.everyone.x", Rejected::BadChannel),
            ("eu.fanfare.channel.", Rejected::BadChannel),
            ("eu.fanfare.channel.a..b", Rejected::BadChannel),
            ("eu.fanfare.channel.a%2Eb", Rejected::BadChannel),
            ("eu.fanfare.channel.a%3ab", Rejected::BadChannel),
            ("eu.fanfare.channel.a:b", Rejected::BadChannel),
            ("eu.fanfare.channel.%", Rejected::BadChannel),
            ("eu.fanfare.channel.%2A", Rejected::BadChannel),
            ("eu.fanfare.channel.%FF", Rejected::BadChannel),
            ("eu.fanfare.channel.>", Rejected::BadChannel),
            ("eu.fanfare.channel.notifications.user.1", Rejected::Personal),
            ("eu.user_noti.", Rejected::BadUser),
            ("eu.user_noti.%00", Rejected::BadUser),
            ("eu.user_noti.a.b", Rejected::BadChannel),
            ("eu.user_noti.%41", Rejected::BadChannel),
        ] {
            assert_eq!(names.read(name.as_bytes()), Err(rejected), "{name}");
        }
        assert_eq!(names.read(b"eu.user_noti.\xff"), Err(Rejected::BadChannel));
    }

    #[test]
    fn bad_prefixes_are_refused_and_good_ones_encoded_in_buckets() {
        for bad in ["a b", "a\n", &"x".repeat(65)] {
            assert_eq!(Names::new(bad).err(), Some(OpenError::BadPrefix));
        }
        for bad in ["$JS.", "_INBOX.", ".", "a..b", "*.", "a>"] {
            let error = Names::new(bad).err().unwrap().to_string();
            assert_eq!(error, BAD_PREFIX, "{bad}");
        }
        for (prefix, bucket) in [
            ("", "ids"),
            ("eu.", "eu_2Eids"),
            ("eu_", "eu_5Fids"),
            ("a-/\u{e9}", "a-_2F_C3_A9ids"),
        ] {
            assert_eq!(Names::new(prefix).unwrap().bucket("ids"), bucket);
        }
    }
}
