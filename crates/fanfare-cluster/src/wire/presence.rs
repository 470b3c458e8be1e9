//! How a change of a room's members travels: as the event that announces it, with a mark in its envelope.

use fanfare_core::{Member, Presence, UserId};
use serde::{Deserialize, Serialize};

/// What an event announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceMark {
    /// Joined or left.
    pub change: Presence,
    /// Who.
    pub member: Member,
    /// The publishing node's number for this change.
    pub number: u64,
    /// The version of the transition.
    pub version: u64,
}

/// A member as nodes describe it to each other, apart from its id. Unknown fields are allowed, so that nodes of two versions
/// understand each other.
#[derive(Serialize, Deserialize)]
struct Described {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    numeric: bool,
    dialect: Box<str>,
}

impl Described {
    fn new(member: &Member) -> Self {
        Self {
            username: member.username.clone(),
            numeric: member.numeric,
            dialect: member.dialect.clone(),
        }
    }

    fn member(self, user: UserId) -> Member {
        Member {
            user,
            username: self.username,
            numeric: self.numeric,
            dialect: self.dialect,
        }
    }
}

/// The field `presence` of an envelope; `version` comes last, see `announcement`.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenMark {
    change: Presence,
    user: Box<str>,
    number: u64,
    member: Described,
    #[serde(default, skip_serializing)]
    version: u64,
}

impl WrittenMark {
    /// Describes the change in a line of JSON, without its version.
    pub(super) fn line(change: Presence, member: &Member, number: u64) -> String {
        text(&Self {
            change,
            user: (&*member.user).into(),
            number,
            member: Described::new(member),
            version: 0,
        })
    }

    /// The mark; `None` if it names no user.
    pub(super) fn read(self) -> Option<Box<PresenceMark>> {
        let user = UserId::new(&self.user).ok()?;
        Some(Box::new(PresenceMark {
            change: self.change,
            member: self.member.member(user),
            number: self.number,
            version: self.version,
        }))
    }
}

/// Describes `member` in a line of JSON, apart from its id.
pub fn write_member(member: &Member) -> String {
    text(&Described::new(member))
}

/// Reads the description of `user`; `None` if it is none.
pub fn read_member(user: &UserId, description: &str) -> Option<Member> {
    let described: Described = serde_json::from_str(description).ok()?;
    Some(described.member(user.clone()))
}

fn text(value: &impl Serialize) -> String {
    // Strings, numbers and a struct of them written to memory: there is nothing that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn member(user: &str, username: Option<&str>) -> Member {
        Member {
            user: UserId::new(user).unwrap(),
            username: username.map(Into::into),
            numeric: username.is_none(),
            dialect: "rooms".into(),
        }
    }

    #[test]
    fn a_member_is_described_in_one_line() {
        for member in [member("7", None), member("a b", Some("A \"b\" {}\n\u{1f3ba}"))] {
            let line = write_member(&member);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read_member(&member.user, &line), Some(member));
        }
        let user = UserId::new("7").unwrap();
        for bad in ["", "{}", "null", "7", r#"{"dialect":7}"#] {
            assert_eq!(read_member(&user, bad), None, "{bad}");
        }
    }
}
