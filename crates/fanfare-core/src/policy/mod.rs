//! The access policy decides which users may subscribe to, join and publish on a channel, for all dialects.
//!
//! The first of these decides:
//! 1. the first rule whose pattern matches the channel, if it has a clause for the action;
//! 2. the authorizer, if there is one;
//! 3. for a room, the `rooms` claim of the token;
//! 4. a default.
//!
//! Before that, an anonymous connection is refused in a room, and a backend is not judged at all.
//!
//! A channel with the messages of a room or of a personal channel is open only to users who may use both.

mod access;
mod authorizer;
mod explanation;
mod grant;
mod lookup;
mod matching;
mod place;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smart_default::SmartDefault;

use crate::{
    Audience, Channel, Identity, Pattern, UserId,
    history::{REPLAY_LIMIT, Retention},
};
pub use access::{AccessControl, DecidingRule, ExplainedPermission, OpenQuestions, Permission};
pub use authorizer::{Authorizer, AuthorizerAnswer, Counts, Question};
use explanation::{Explanation, Reason};
pub use grant::{BadGrant, Grant};
use lookup::Lookup;
pub use place::{KnownNames, Place};
pub use rule::{BadPattern, BadRule, Clause, Clauses, Rule, RulePattern};

/// An action of a client on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Subscribe to it, or join it if it is a room.
    Subscribe,
    /// Publish on it.
    Publish,
}

/// The users who may join a room if no rule, authorizer or token decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomAccess {
    /// Every client with an identity.
    #[default]
    Authenticated,
    /// No client.
    Nobody,
}

/// The settings of a policy.
#[derive(Debug, Clone, SmartDefault)]
pub struct PolicyOptions {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Whether an authorizer decides if no rule does.
    pub authorizer: bool,
    /// The default for rooms.
    pub rooms: RoomAccess,
    /// The channels that anonymous connections may use by default, except rooms. `None` means all except the feed and the
    /// channels below it.
    pub public: Option<Vec<Pattern>>,
    /// The names of rooms and of the feed.
    pub names: KnownNames,
    /// The retention of each user's events.
    pub users: Option<Retention>,
    /// The retention of the events for everyone.
    pub everyone: Option<Retention>,
    /// The maximum of events that one resume replays.
    #[default(REPLAY_LIMIT)]
    pub replay_limit: usize,
}

/// The questions to the authorizer after [`Verdict::Ask`].
type Questions = SmallVec<[Question; 2]>;

/// The decision of the policy; a stricter one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Verdict {
    Allowed,
    /// The authorizer decides.
    Ask,
    Denied,
}

/// The connections that may receive a channel's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readers {
    /// Every connection.
    Everyone,
    /// Every connection with an identity.
    Identified,
    /// Unknown: each connection must be judged.
    Judged,
}

/// The rules and defaults that decide access, and the retention of events.
#[derive(Debug)]
pub struct Policy {
    options: PolicyOptions,
    rules_by_segment: Lookup,
    public_by_segment: Lookup,
    keeps_history: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(PolicyOptions::default())
    }
}

impl Policy {
    /// Returns a policy of these rules and defaults.
    pub fn new(options: PolicyOptions) -> Self {
        Self {
            rules_by_segment: Lookup::new(options.rules.iter().map(|rule| rule.pattern.as_str())),
            public_by_segment: Lookup::new(options.public.iter().flatten().map(Pattern::as_str)),
            keeps_history: options.users.is_some()
                || options.everyone.is_some()
                || options.rules.iter().any(|rule| rule.history.is_some()),
            options,
        }
    }

    /// Returns the names of rooms and of the feed.
    pub fn names(&self) -> &KnownNames {
        &self.options.names
    }

    /// Judges whether `who` (`None` for an anonymous connection) may do `action` on `channel`, with the reason. It does not
    /// allocate.
    fn explain(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Explanation<'_> {
        let own = self.explain_alone(who, action, channel);
        if own.verdict == Verdict::Denied {
            return own;
        }
        let place = self.names().carried_place(channel);
        match place.map(|place| self.explain_place(who, action, place)) {
            Some(place) if place.verdict > own.verdict => place,
            _ => own,
        }
    }

    /// Returns the questions to the authorizer after [`Verdict::Ask`]. It must allow all of them.
    fn open_questions(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Questions {
        let is_open = |explained: Explanation<'_>| explained.verdict == Verdict::Ask;
        let own = is_open(self.explain_alone(who, action, channel)).then(|| channel.clone());
        let room = match self.names().carried_place(channel) {
            Some(Place::Room(room)) if is_open(self.explain_alone(who, action, room)) => {
                Channel::new(room).ok() // a channel's name that is part of another
            }
            _ => None,
        };
        let question = |channel| Question {
            user: who.map(|who| who.user.clone()),
            action,
            channel,
        };
        own.into_iter().chain(room).map(question).collect()
    }

    fn explain_place(&self, who: Option<&Identity>, action: Action, place: Place<'_>) -> Explanation<'_> {
        match place {
            Place::Room(room) => self.explain_alone(who, action, room),
            Place::Personal(owner) => explain_personal(who, action, owner),
        }
    }

    /// Judges by the channel's own rules, without those of the place whose messages it has.
    fn explain_alone(&self, who: Option<&Identity>, action: Action, channel: &str) -> Explanation<'_> {
        let room = self.names().is_room(channel);
        if room && who.is_none() {
            return decided(false, Reason::AnonymousInRoom);
        }
        if let Some((number, rule)) = self.rule_for(channel) {
            let clauses = rule.clauses(action, room);
            if !clauses.is_empty() {
                let allowed = clauses.iter().all(|(_, grant)| rule.admits(grant, who, channel));
                return decided(
                    allowed,
                    Reason::Rule {
                        number,
                        rule,
                        clauses,
                    },
                );
            }
        }
        if self.options.authorizer {
            return Explanation {
                verdict: Verdict::Ask,
                reason: Reason::Authorizer,
            };
        }
        match who {
            Some(who) if room => self.room_by_default(who, channel),
            Some(_) => decided(true, Reason::Identified),
            None if self.is_public(channel) => decided(true, Reason::Public),
            None => decided(false, Reason::NotPublic),
        }
    }

    /// Returns the connections that may receive an event on `channel`. It is called once for each event. For
    /// [`Readers::Judged`], each connection with a matching pattern must be judged.
    fn readers(&self, channel: &Channel) -> Readers {
        let own = self.readers_alone(channel);
        match self.names().carried_place(channel) {
            None => own,
            Some(Place::Room(room)) => own.max(self.readers_alone(room)),
            Some(Place::Personal(_)) => Readers::Judged,
        }
    }

    fn readers_alone(&self, channel: &str) -> Readers {
        let room = self.names().is_room(channel);
        let rule = self.rule_for(channel);
        let rule = rule.map(|(_, rule)| rule.clauses(Action::Subscribe, room));
        let by_rule = rule.and_then(|clauses| clauses.iter().map(|(_, grant)| readers_of(grant)).max());
        match by_rule {
            Some(readers) if room => readers.max(Readers::Identified),
            Some(readers) => readers,
            None if self.options.authorizer || room => Readers::Judged,
            None if self.is_public(channel) => Readers::Everyone,
            None => Readers::Identified,
        }
    }

    /// Returns the claims that rules use, each once. The server keeps no others of a token.
    pub fn wanted_claims(&self) -> Vec<Box<str>> {
        let rules = self.options.rules.iter();
        let grants = rules.flat_map(|rule| [&rule.subscribe, &rule.publish, &rule.join]);
        let names = grants.flatten().filter_map(|grant| match grant {
            Grant::Claim { name, .. } => Some(name.clone()),
            _ => None,
        });
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the first rule whose pattern matches, with its number.
    fn rule_for(&self, channel: &str) -> Option<(usize, &Rule)> {
        let candidates = self.rules_by_segment.candidates(channel).iter();
        candidates
            .map(|index| (index + 1, &self.options.rules[*index]))
            .find(|(_, rule)| rule.decides_access() && rule.pattern.matches(channel))
    }

    /// Returns the first rule whose pattern matches and that keeps history, with its number and its retention.
    fn history_rule(&self, channel: &str) -> Option<(usize, &Rule, Retention)> {
        let candidates = self.rules_by_segment.candidates(channel).iter();
        let mut rules = candidates.map(|index| (index + 1, &self.options.rules[*index]));
        rules.find_map(|(number, rule)| {
            let retention = rule.history.filter(|_| rule.pattern.matches(channel))?;
            Some((number, rule, retention))
        })
    }

    /// Returns the retention of an audience.
    fn retention(&self, audience: &Audience) -> Option<Retention> {
        match audience {
            Audience::Everyone => self.options.everyone,
            Audience::User(_) => self.options.users,
            Audience::Channel(channel) => self.history_rule(channel).map(|(.., retention)| retention),
        }
    }

    fn room_by_default(&self, who: &Identity, channel: &str) -> Explanation<'_> {
        match &who.rooms {
            Some(rooms) => {
                let opened = rooms.iter().any(|pattern| pattern.matches(channel));
                decided(opened, Reason::RoomsClaim)
            }
            None => decided(
                self.options.rooms == RoomAccess::Authenticated,
                Reason::RoomDefault(self.options.rooms),
            ),
        }
    }

    /// Returns `true` if anonymous connections may use a channel that is not a room.
    fn is_public(&self, channel: &str) -> bool {
        match &self.options.public {
            Some(patterns) => {
                let mut candidates = self.public_by_segment.candidates(channel).iter();
                candidates.any(|index| patterns[*index].matches(channel))
            }
            None => !self.names().is_of_feed(channel),
        }
    }
}

/// Returns `true` if `who` is one of `users`, or an admin.
fn is_named(users: &[UserId], who: Option<&Identity>) -> bool {
    who.is_some_and(|who| users.contains(&who.user) || who.is_admin())
}

/// Judges whether `who` may do `action` on the personal channel of `owner`, with the reason. Rules do not apply.
fn explain_personal<'a>(who: Option<&Identity>, action: Action, owner: &str) -> Explanation<'a> {
    match action {
        Action::Publish => decided(false, Reason::PersonalPublish),
        Action::Subscribe if who.is_some_and(|who| *who.user == *owner) => decided(true, Reason::OwnPersonal),
        Action::Subscribe => decided(false, Reason::OthersPersonal),
    }
}

fn decided(allowed: bool, reason: Reason<'_>) -> Explanation<'_> {
    let verdict = if allowed {
        Verdict::Allowed
    } else {
        Verdict::Denied
    };
    Explanation { verdict, reason }
}

fn readers_of(grant: &Grant) -> Readers {
    match grant {
        Grant::Anyone => Readers::Everyone,
        Grant::Authenticated => Readers::Identified,
        Grant::Owner | Grant::Role(_) | Grant::Claim { .. } | Grant::Service | Grant::Nobody => {
            Readers::Judged
        }
    }
}
