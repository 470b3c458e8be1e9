//! The reason of a verdict, for `fanfare explain`.

use std::fmt;

use super::{Clauses, RoomAccess, Rule, Verdict};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation<'a> {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason<'a> {
    Rule {
        /// The number of the rule, starting at 1.
        number: usize,
        rule: &'a Rule,
        clauses: Clauses<'a>,
    },
    AnonymousInRoom,
    Authorizer,
    RoomsClaim,
    RoomDefault(RoomAccess),
    /// The default for identified connections on channels other than rooms.
    Identified,
    Public,
    NotPublic,
    OwnPersonal,
    OthersPersonal,
    PersonalPublish,
}

impl Reason<'_> {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Rule { .. } => "rule",
            Self::AnonymousInRoom => "anonymous_in_room",
            Self::Authorizer => "authorizer",
            Self::RoomsClaim => "rooms_claim",
            Self::RoomDefault(_) => "room_default",
            Self::Identified => "identified",
            Self::Public => "public",
            Self::NotPublic => "not_public",
            Self::OwnPersonal => "own_personal_channel",
            Self::OthersPersonal => "personal_channel_of_another",
            Self::PersonalPublish => "publish_on_personal_channel",
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule {
                number,
                rule,
                clauses,
            } => {
                write!(f, "rule {number}, {:?}:", rule.pattern)?;
                for (place, (clause, grant)) in clauses.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma} {} = {:?}", clause.label(), grant.to_string())?;
                }
                return Ok(());
            }
            Self::AnonymousInRoom => "an anonymous connection never sees a room",
            Self::Authorizer => "no rule decides it, and an authorizer is configured",
            Self::RoomsClaim => "the claim \"rooms\" of the token",
            Self::RoomDefault(RoomAccess::Authenticated) => "the default for rooms: every identified user",
            Self::RoomDefault(RoomAccess::Nobody) => "the default for rooms: nobody",
            Self::Identified => "the default for identified users",
            Self::Public => "the channel is public",
            Self::NotPublic => "the channel is not public",
            Self::OwnPersonal => "the user's own personal channel",
            Self::OthersPersonal => "another user's personal channel",
            Self::PersonalPublish => "no client publishes on a personal channel",
        })
    }
}
