//! The form of a change of a room's members: a mark in the envelope of the event that announces it.

use fanfare_core::{Member, Presence, UserId};
use serde::{Deserialize, Serialize};

/// A change of a room's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceMark {
    /// Whether the member joined or left.
    pub change: Presence,
    /// The member.
    pub member: Member,
    /// The publishing node's number of this change.
    pub number: u64,
    /// The version of the transition.
    pub version: u64,
}

/// The form of a member without its id. Unknown fields are ignored, so that nodes of two versions understand each other.
#[derive(Serialize, Deserialize)]
struct WrittenMember {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    numeric: bool,
    dialect: Box<str>,
}

impl WrittenMember {
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
    member: WrittenMember,
    #[serde(default, skip_serializing)]
    version: u64,
}

impl WrittenMark {
    /// Writes the change as a line of JSON, without its version.
    pub(super) fn line(change: Presence, member: &Member, number: u64) -> String {
        text(&Self {
            change,
            user: (&*member.user).into(),
            number,
            member: WrittenMember::new(member),
            version: 0,
        })
    }

    /// Returns the mark; `None` if its user's id is not valid.
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

/// Writes `member` as a line of JSON, without its id.
pub fn write_member(member: &Member) -> String {
    text(&WrittenMember::new(member))
}

/// Parses the description of `user`. Returns `None` if it is not valid.
pub fn read_member(user: &UserId, description: &str) -> Option<Member> {
    let described: WrittenMember = serde_json::from_str(description).ok()?;
    Some(described.member(user.clone()))
}

fn text(value: &impl Serialize) -> String {
    // Cannot fail: only strings and numbers are written to memory.
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
    fn a_member_is_written_in_one_line() {
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
