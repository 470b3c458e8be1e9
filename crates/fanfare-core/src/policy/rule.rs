//! A rule: a pattern, and the users who may act on the channels that it matches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    Action, Grant,
    matching::{self, USER},
};
use crate::{
    BadName, Identity, OptionalText, Pattern, ending::labelled, history::Retention, segments::MANY,
    serde_as_text, text::reads_as_str,
};

/// A pattern in which the segment `{user}` is a user's id. A rule applies to all channels that match with any segment
/// there; the user with that id owns the channel. An id with a `.` or a `:` is never one segment, so it owns nothing.
#[derive(Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", description = "A rule's pattern.", extend("x-kind" = "rule-pattern"))]
pub struct RulePattern(Pattern);

/// The reason why a text is not a rule's pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is not a pattern.
    #[error(transparent)]
    Name(BadName),
    /// A segment has a `*` and other text.
    #[error("a wildcard, * or **, must be a whole segment")]
    Wildcard,
    /// It has braces other than the segment `{user}`.
    #[error("the only placeholder is {{user}}, and it must be a whole segment")]
    Placeholder,
}

/// A rule that decides which users may act on the channels that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The channels of the rule, such as `reports.{user}.**`: segments between `.` or `:`. `*` is one segment, `**` one
    /// or more, and `{user}` is one segment that `owner` compares with the user's id.
    pub pattern: RulePattern,

    /// The clients that may receive the events: `anyone`, `authenticated`, `owner`, `role:NAME`, `claim:NAME=VALUE`,
    /// `service` (only backends) or `nobody`. If it is not set, the authorizer and the defaults decide.
    #[serde(default, with = "OptionalText::<Grant>")]
    pub subscribe: Option<Grant>,

    /// The clients that may publish, with the same values. In a room, it defaults to those that may read it.
    #[serde(default, with = "OptionalText::<Grant>")]
    pub publish: Option<Grant>,

    /// The clients that may be members, if the channel is a room, with the same values. If `subscribe` is also set,
    /// both must allow it. It has no effect on other channels.
    #[serde(default, with = "OptionalText::<Grant>")]
    pub join: Option<Grant>,

    /// The number of events of each of these channels that are kept for clients that reconnect, and their time, such as
    /// `{ size = 100, ttl = "5m" }`. Of the rules that match a channel, the first with `history` counts. A rule with
    /// only `history` leaves access to the other rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Retention")]
    pub history: Option<Retention>,
}

/// The reason why a rule has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// It decides nothing.
    #[error("the rule names none of subscribe, publish, join, history")]
    Empty,
    /// It grants rights to owners, and its pattern has no `{user}`.
    #[error("\"owner\" needs {{user}} in the pattern")]
    NoOwner,
}

labelled! {
    /// A part of a rule, with its name in the configuration.
    Clause {
        /// `subscribe`
        Subscribe = "subscribe",
        /// `publish`
        Publish = "publish",
        /// `join`
        Join = "join",
    }
}

/// The clauses of a rule that decide an action. All of them must allow it.
pub type Clauses<'a> = SmallVec<[(Clause, &'a Grant); 2]>;

impl RulePattern {
    /// Parses `text`.
    ///
    /// # Errors
    /// If it is not a pattern, or has braces other than the segment `{user}`.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let pattern = Pattern::new(text).map_err(|error| match error {
            BadName::PartialWildcard => BadPattern::Wildcard,
            other => BadPattern::Name(other),
        })?;
        let strange = |segment: &str| segment != USER && segment.contains(['{', '}']);
        if text.split(['.', ':']).any(strange) {
            return Err(BadPattern::Placeholder);
        }
        Ok(Self(pattern))
    }

    /// Returns the pattern's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns `true` if the channels that it matches have an owner.
    fn names_an_owner(&self) -> bool {
        self.as_str().split(['.', ':']).any(|segment| segment == USER)
    }

    /// Returns the pattern with `**` for `{user}`, to match also ids with separators; `None` without `{user}`.
    pub fn with_any_id(&self) -> Option<Self> {
        let mut text = self.as_str().replace(USER, MANY);
        // `**` matches more than `**.**`, and is simpler to read.
        for doubled in ["**.**", "**:**"] {
            while text.contains(doubled) {
                text = text.replace(doubled, MANY);
            }
        }
        self.names_an_owner().then(|| Self::new(&text).ok()).flatten()
    }

    /// Returns `true` if it certainly matches all channels that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        matching::covers(self.as_str(), other.as_str())
    }

    pub(super) fn matches(&self, channel: &str) -> bool {
        matching::matches(self.as_str(), channel, None)
    }

    fn is_owned_by(&self, channel: &str, id: &str) -> bool {
        self.names_an_owner() && matching::matches(self.as_str(), channel, Some(id))
    }
}

impl Rule {
    /// Checks that the rule has an effect.
    ///
    /// # Errors
    /// If it decides nothing, or grants rights to owners without `{user}` in its pattern.
    pub fn check(&self) -> Result<(), BadRule> {
        let grants = [&self.subscribe, &self.publish, &self.join];
        if !self.decides_access() && self.history.is_none() {
            Err(BadRule::Empty)
        } else if grants.contains(&&Some(Grant::Owner)) && !self.pattern.names_an_owner() {
            Err(BadRule::NoOwner)
        } else {
            Ok(())
        }
    }

    /// Returns `true` if it decides an action. A rule with only `history` leaves access to the other rules.
    pub fn decides_access(&self) -> bool {
        self.subscribe.is_some() || self.publish.is_some() || self.join.is_some()
    }

    /// Returns the grant of a clause, if the rule has it.
    pub fn grant(&self, clause: Clause) -> Option<&Grant> {
        match clause {
            Clause::Subscribe => self.subscribe.as_ref(),
            Clause::Publish => self.publish.as_ref(),
            Clause::Join => self.join.as_ref(),
        }
    }

    /// Returns the clauses that decide `action`; empty if the rule does not decide it.
    pub(super) fn clauses(&self, action: Action, room: bool) -> Clauses<'_> {
        let deciding: &[Clause] = match (action, room) {
            (Action::Subscribe, false) => &[Clause::Subscribe],
            (Action::Subscribe, true) => &[Clause::Join, Clause::Subscribe],
            // Members may publish in a room, unless the rule decides otherwise.
            (Action::Publish, true) if self.publish.is_none() => &[Clause::Join, Clause::Subscribe],
            (Action::Publish, _) => &[Clause::Publish],
        };
        let named = |clause: &Clause| Some((*clause, self.grant(*clause)?));
        deciding.iter().filter_map(named).collect()
    }

    pub(super) fn admits(&self, grant: &Grant, who: Option<&Identity>, channel: &str) -> bool {
        grant.admits(who, |who| self.pattern.is_owned_by(channel, &who.user))
    }
}

reads_as_str!(RulePattern, BadPattern);
serde_as_text!(RulePattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked() {
        let cases = [
            ("reports.{user}.**", Ok(())),
            ("{user}", Ok(())),
            ("**", Ok(())),
            ("", Err(BadPattern::Name(BadName::Empty))),
            ("a..b", Err(BadPattern::Name(BadName::EmptySegment))),
            ("a*", Err(BadPattern::Wildcard)),
            ("a.***", Err(BadPattern::Wildcard)),
            ("a.{usr}", Err(BadPattern::Placeholder)),
            ("a.x{user}", Err(BadPattern::Placeholder)),
            ("a.{user", Err(BadPattern::Placeholder)),
        ];
        for (text, expected) in cases {
            assert_eq!(RulePattern::new(text).map(|_| ()), expected, "{text:?}");
        }
        let text = BadPattern::Placeholder.to_string();
        assert_eq!(
            text,
            "the only placeholder is {user}, and it must be a whole segment"
        );
    }

    #[test]
    fn a_pattern_for_any_id_covers_the_rule() {
        let cases = [
            ("reports.{user}.**", Some("reports.**")),
            ("inbox:{user}", Some("inbox:**")),
            ("{user}.inbox", Some("**.inbox")),
            ("{user}", Some("**")),
            ("**:{user}.**", Some("**")),
            ("a.{user}.to.{user}", Some("a.**.to.**")),
            ("a.{user}.*", Some("a.**.*")),
            ("a.**", None),
        ];
        for (text, expected) in cases {
            let pattern = RulePattern::new(text).expect("a pattern");
            let any = pattern.with_any_id();
            assert_eq!(any.as_ref().map(RulePattern::as_str), expected, "{text}");
            assert!(any.is_none_or(|any| any.covers(&pattern)), "{text}");
        }
    }

    #[test]
    fn rules_without_effect_are_refused() {
        let rule = |pattern, subscribe, publish| Rule {
            pattern: RulePattern::new(pattern).expect("a pattern"),
            subscribe,
            publish,
            join: None,
            history: None,
        };
        let cases = [
            (rule("a", None, None), Err(BadRule::Empty)),
            (rule("a", Some(Grant::Owner), None), Err(BadRule::NoOwner)),
            (
                rule("a", Some(Grant::Anyone), Some(Grant::Owner)),
                Err(BadRule::NoOwner),
            ),
            (rule("a.{user}", Some(Grant::Owner), None), Ok(())),
            (rule("a.{user}", None, Some(Grant::Service)), Ok(())),
        ];
        for (rule, expected) in cases {
            assert_eq!(rule.check(), expected, "{rule:?}");
        }
    }
}
