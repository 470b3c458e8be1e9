//! The users that a clause of a rule admits.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use schemars::JsonSchema;
use serde_json::Value;

use crate::{Identity, serde_as_text};

/// The users that a clause of a rule admits. Rules do not apply to backends, so [`Grant::Service`] admits no client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", description = "The users that a rule admits.", extend("x-kind" = "grant"))]
pub enum Grant {
    /// Every client, including anonymous ones.
    Anyone,
    /// Every client with an identity.
    Authenticated,
    /// The user whose id is the segment at the rule's `{user}`.
    Owner,
    /// Users with this role.
    Role(Box<str>),
    /// Users whose token has this claim with this value. Strings, numbers and booleans are compared as text. In a list, one
    /// equal item is enough.
    Claim {
        /// The claim's name.
        name: Box<str>,
        /// The claim's value.
        value: Box<str>,
    },
    /// No client, only backends.
    Service,
    /// No client.
    Nobody,
}

/// The reason why a text is not a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    /// The first word is unknown.
    #[error("expected one of anyone, authenticated, owner, role:NAME, claim:NAME=VALUE, service, nobody")]
    Unknown,
    /// `role` without a name.
    #[error("expected a role with its name, role:NAME")]
    NoRole,
    /// `claim` without a name and a value.
    #[error("expected a claim with its name and its value, claim:NAME=VALUE")]
    NoClaim,
    /// White space around the text or one of its parts.
    #[error("expected no spaces at the ends and beside : and =")]
    Spaces,
    /// A value after a word that takes none.
    #[error("expected the word alone: only role and claim take a name")]
    NoName,
}

impl Grant {
    /// The first words of all grants.
    pub const WORDS: [&'static str; 7] = [
        "anyone",
        "authenticated",
        "owner",
        "role",
        "claim",
        "service",
        "nobody",
    ];

    /// Returns `true` if the grant admits `who`. `owns` returns whether the user is the owner.
    pub(super) fn admits(&self, who: Option<&Identity>, owns: impl Fn(&Identity) -> bool) -> bool {
        match self {
            Self::Anyone => true,
            Self::Authenticated => who.is_some(),
            Self::Owner => who.is_some_and(owns),
            Self::Role(role) => who.is_some_and(|who| who.has_role(role)),
            Self::Claim { name, value } => {
                let claim = who.and_then(|who| who.claim(name));
                claim.is_some_and(|claim| has_value(claim, value))
            }
            Self::Service | Self::Nobody => false,
        }
    }
}

fn has_value(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Bool(truth) => value == if *truth { "true" } else { "false" },
        Value::Number(number) => {
            let mut expected = Expected(value);
            write!(expected, "{number}").is_ok() && expected.0.is_empty()
        }
        Value::Array(items) => items
            .iter()
            .any(|item| !item.is_array() && has_value(item, value)),
        Value::Null | Value::Object(_) => false,
    }
}

/// The rest of an expected text. A write removes the written text from its start, and fails if the rest begins with
/// another. So the comparison does not allocate: a rule may be judged for each receiver.
struct Expected<'a>(&'a str);

impl fmt::Write for Expected<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

impl FromStr for Grant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let (word, name) = match text.split_once(':') {
            Some((word, name)) => (word, Some(name)),
            None => (text, None),
        };
        if has_outer_spaces(word) {
            return Err(BadGrant::Spaces);
        }
        match (word, name) {
            ("role", name) => role(name.unwrap_or_default()),
            ("claim", claim) => self::claim(claim.unwrap_or_default()),
            (word, Some(_)) if Self::WORDS.contains(&word) => Err(BadGrant::NoName),
            ("anyone", None) => Ok(Self::Anyone),
            ("authenticated", None) => Ok(Self::Authenticated),
            ("owner", None) => Ok(Self::Owner),
            ("service", None) => Ok(Self::Service),
            ("nobody", None) => Ok(Self::Nobody),
            _ => Err(BadGrant::Unknown),
        }
    }
}

fn role(name: &str) -> Result<Grant, BadGrant> {
    if name.trim().is_empty() {
        Err(BadGrant::NoRole)
    } else if has_outer_spaces(name) {
        Err(BadGrant::Spaces)
    } else {
        Ok(Grant::Role(name.into()))
    }
}

fn claim(text: &str) -> Result<Grant, BadGrant> {
    let (name, value) = text.split_once('=').ok_or(BadGrant::NoClaim)?;
    if name.trim().is_empty() || value.trim().is_empty() {
        Err(BadGrant::NoClaim)
    } else if has_outer_spaces(name) || has_outer_spaces(value) {
        Err(BadGrant::Spaces)
    } else {
        Ok(Grant::Claim {
            name: name.into(),
            value: value.into(),
        })
    }
}

fn has_outer_spaces(text: &str) -> bool {
    text.trim() != text
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Owner => f.write_str("owner"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Claim { name, value } => write!(f, "claim:{name}={value}"),
            Self::Service => f.write_str("service"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

serde_as_text!(Grant);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_is_written_as_it_was_read() {
        for text in [
            "anyone",
            "authenticated",
            "owner",
            "role:staff",
            "role:team:red",
            "claim:plan=pro",
            "claim:https://example.com/plan=a=b",
            "service",
            "nobody",
        ] {
            assert_eq!(
                text.parse::<Grant>().map(|grant| grant.to_string()),
                Ok(text.into())
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let cases = [
            ("", BadGrant::Unknown),
            ("rol:x", BadGrant::Unknown),
            ("Anyone", BadGrant::Unknown),
            ("role", BadGrant::NoRole),
            ("role:", BadGrant::NoRole),
            ("role: ", BadGrant::NoRole),
            ("role: staff", BadGrant::Spaces),
            (" anyone", BadGrant::Spaces),
            ("claim", BadGrant::NoClaim),
            ("claim:plan", BadGrant::NoClaim),
            ("claim:=pro", BadGrant::NoClaim),
            ("claim:plan=", BadGrant::NoClaim),
            ("claim:plan = pro", BadGrant::Spaces),
            ("owner:alice", BadGrant::NoName),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Grant>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn claims_are_compared_as_text() {
        let cases = [
            (json!("pro"), "pro", true),
            (json!("Pro"), "pro", false),
            (json!("7"), "7", true),
            (json!(7), "7", true),
            (json!(-7), "-7", true),
            (json!(1.5), "1.5", true),
            (json!(7), "7.0", false),
            (json!(7), "77", false),
            (json!(77), "7", false),
            (json!(true), "true", true),
            (json!(true), "false", false),
            (json!(false), "false", true),
            (json!(true), "1", false),
            (json!(null), "null", false),
            (json!({"a": "pro"}), "pro", false),
            (json!(["free", "pro"]), "pro", true),
            (json!(["free", 7]), "7", true),
            (json!([["pro"]]), "pro", false),
            (json!([]), "pro", false),
        ];
        for (claim, value, expected) in cases {
            assert_eq!(has_value(&claim, value), expected, "{claim} {value}");
        }
    }
}
