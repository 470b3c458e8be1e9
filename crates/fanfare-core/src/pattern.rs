//! Patterns of channels, and the subscriptions of clients.

use std::sync::Arc;

use schemars::JsonSchema;

use crate::{
    Audience, BadName, Channel, UserId,
    names::{check_segments, check_text},
    segments::{MANY, ONE, walk},
    serde_as_text,
    text::reads_as_str,
};

/// A name with wildcards: `*` matches one segment, `**` matches one or more. Separators must be equal, so `a.*` matches
/// `a.b` and not `a:b`. Inside a match of `**` both separators are allowed, so the pattern `**` matches every channel.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", description = "A pattern of channels.", extend("x-kind" = "pattern"))]
pub struct Pattern(Arc<str>);

/// The target of a client's subscription: a channel, a personal channel, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// The events for this user. It is a personal channel, under any of its names.
    Personal(UserId),
    /// The events on this channel.
    Channel(Channel),
    /// The events on every channel that this matches.
    Pattern(Pattern),
}

impl Pattern {
    /// Parses `text`. A name without wildcards is a pattern that matches only itself.
    ///
    /// # Errors
    /// If it is empty, too long or too deep, or has an empty segment, a control character, or a segment with a `*` and
    /// other text.
    pub fn new(text: &str) -> Result<Self, BadName> {
        check_text(text)?;
        check_segments(text)?;
        Ok(Self(text.into()))
    }

    /// Returns the pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if it has no wildcard.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Returns `true` if it matches `channel`, which may be longer than a channel's name. The cost is at most the product
    /// of the two numbers of segments.
    pub fn matches(&self, channel: &str) -> bool {
        walk(&self.0, channel, |part, segment| part == ONE || part == segment)
    }
}

impl Subscription {
    /// Parses a client's text.
    ///
    /// # Errors
    /// If it is neither a name nor a pattern.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let mut segments = text.split(['.', ':']);
        if segments.any(|segment| matches!(segment, ONE | MANY)) {
            return Pattern::new(text).map(Self::Pattern);
        }
        match Audience::of_channel(text)? {
            Audience::User(user) => Ok(Self::Personal(user)),
            Audience::Channel(channel) => Ok(Self::Channel(channel)),
            Audience::Everyone => Err(BadName::Empty),
        }
    }
}

reads_as_str!(Pattern, BadName);
serde_as_text!(Pattern);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_NAME_BYTES, MAX_SEGMENTS};

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn texts_are_checked() {
        let deep = ["*"; MAX_SEGMENTS + 1].join(".");
        let long = format!("{}.*", "a".repeat(MAX_NAME_BYTES - 1));
        let cases: &[(&str, Option<BadName>)] = &[
            ("*", None),
            ("**", None),
            ("chat.general", None),
            ("a.*:**.b", None),
            ("reports.{user}.**", None),
            (&deep[2..], None),
            (&long[1..], None),
            (&deep, Some(BadName::TooDeep)),
            (&long, Some(BadName::TooLong)),
            ("", Some(BadName::Empty)),
            ("a..*", Some(BadName::EmptySegment)),
            ("*.", Some(BadName::EmptySegment)),
            (":**", Some(BadName::EmptySegment)),
            ("***", Some(BadName::PartialWildcard)),
            ("a*", Some(BadName::PartialWildcard)),
            ("a.*b.c", Some(BadName::PartialWildcard)),
            ("*\n", Some(BadName::ControlCharacter)),
        ];
        for (text, expected) in cases {
            assert_eq!(Pattern::new(text).err(), *expected, "{text:?}");
        }
        assert!(pattern("a.b").is_literal() && !pattern("a.*").is_literal());
    }

    #[test]
    fn patterns_match_whole_segments() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("a.b", &["a.b"], &["a", "a:b", "a.b.c", "A.b"]),
            ("a.b.c", &["a.b.c"], &["a.b"]),
            ("a.{user}", &["a.{user}"], &["a.7"]),
            ("*", &["a", "世界"], &["a.b", "a:b"]),
            ("a.*", &["a.b", "a.*"], &["a", "a:b", "a.b.c", "b.a"]),
            ("a:*", &["a:b"], &["a.b", "a:b:c"]),
            ("*.b", &["a.b"], &["b", "a:b", "a.a.b"]),
            ("*:*", &["a:b"], &["a.b", "a:b:c"]),
            ("**", &["a", "a.b", "a:b", "a.b:c.d"], &[]),
            (
                "messages.**",
                &["messages.user", "messages.user.123", "messages.user:1.x"],
                &["messages", "messages:user", "other.user"],
            ),
            (
                "**.end",
                &["a.end", "a.b:c.end", "end.end"],
                &["end", "a:end", "a.end.b"],
            ),
            (
                "a.**.z",
                &["a.b.z", "a.b:c.z", "a.z.z", "a.z.y.z.z"],
                &["a.z", "a.b:z", "a:b.z", "a.z.y"],
            ),
            ("**.b.**", &["a.b.c", "b.b.b"], &["a.b"]),
            ("**.b.*.d", &["a.b.x.b.y.d"], &["a.b.x.b.y.z"]),
            ("a:**.z", &["a:b.z", "a:b.c.z"], &["a.b.z", "a:z"]),
            (
                "**.**",
                &["a.b", "a:b.c", "a.b:c", "a.b.c"],
                &["a", "a:b", "a:b:c"],
            ),
            ("**.*", &["a.b", "a:b.c"], &["a", "a.b:c"]),
            ("*.**", &["a.b", "a.b:c"], &["a", "a:b.c"]),
            (
                "**.a.**.a",
                &["x.a.x.a", "a.a.a.a"],
                &["a.x.a", "x.a.a", "x.a.x.b"],
            ),
            (
                "**.a.b.**.c",
                &["x.a.a.b.x.c.c", "x.a.b.c.c"],
                &["x.a.b.c", "x.a.c.b.x.c"],
            ),
            (
                "notifications.user.*",
                &["notifications.user.7"],
                &["notifications.user.a:b"],
            ),
        ];
        for (text, matched, others) in cases {
            for name in *matched {
                assert!(pattern(text).matches(name), "{text} matches {name}");
            }
            for name in *others {
                assert!(!pattern(text).matches(name), "{text} does not match {name}");
            }
        }
    }

    #[test]
    fn long_names_are_matched_fast() {
        let name = vec!["a"; 100_000].join(".");
        let many = format!("{}.b", ["**.a"; 15].join("."));
        assert!(!pattern(&many).matches(&name));
        assert!(pattern(&many).matches(&(name + ".b")));
    }

    #[test]
    fn a_text_is_a_personal_channel_a_channel_or_a_pattern() {
        let personal = |id: &str| UserId::new(id).map(Subscription::Personal);
        let channel = |name: &str| Channel::new(name).map(Subscription::Channel);
        let matching = |text: &str| Pattern::new(text).map(Subscription::Pattern);
        let cases = [
            ("notifications.user.alice", personal("alice")),
            ("notifications.user.a:b:c", personal("a:b:c")),
            ("user:alice", personal("alice")),
            ("user:a:b.c", personal("a:b.c")),
            ("user_noti:a:b", personal("a:b")),
            ("user:a*", personal("a*")),
            ("user:", Err(BadName::Empty)),
            ("notifications", channel("notifications")),
            ("notifications.user", channel("notifications.user")),
            ("users:1", channel("users:1")),
            ("notifications.user.*", matching("notifications.user.*")),
            ("user:*", matching("user:*")),
            ("**", matching("**")),
            ("a.**:b", matching("a.**:b")),
            ("a.b*", Err(BadName::PartialWildcard)),
            ("a.***", Err(BadName::PartialWildcard)),
            ("a..*", Err(BadName::EmptySegment)),
            ("", Err(BadName::Empty)),
        ];
        for (text, expected) in cases {
            assert_eq!(Subscription::parse(text), expected, "{text:?}");
        }
    }
}
