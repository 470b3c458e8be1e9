//! The access policy: which users may subscribe to, join and publish on which channel, the same in every dialect.
//!
//! The first of these decides: the first rule whose pattern matches the channel and that names the action; the
//! authorizer, if there is one; for a room, the token's `rooms` claim; a default. Two checks precede all of them: an
//! anonymous connection cannot use a room, and backends are not judged.
//!
//! A channel that carries the messages of a room or of a personal channel is open only to users who may use both.

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

/// A client's action on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Receives its events. Joining a room is a subscription.
    Subscribe,
    /// Publishes.
    Publish,
}

/// The users of rooms that no rule, authorizer or token decides.
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
#[derive(Debug, Clone, Default)]
pub struct PolicyOptions {
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Whether an authorizer decides if no rule does.
    pub authorizer: bool,
    /// The default for rooms.
    pub rooms: RoomAccess,
    /// The channels that anonymous connections may use by default, except rooms. `None` is all except the feed and the
    /// channels under it.
    pub public: Option<Vec<Pattern>>,
    /// The names of rooms and of the feed.
    pub names: KnownNames,
    /// The retention of each user's events.
    pub users: Option<Retention>,
    /// The retention of the events for everyone.
    pub everyone: Option<Retention>,
    /// The maximum of events that one resume replays; `None` for [`REPLAY_LIMIT`].
    pub replay_limit: Option<usize>,
}

/// The questions that a verdict leaves to the authorizer.
type Questions = SmallVec<[Question; 2]>;

/// The policy's decision, the stricter the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Verdict {
    Allowed,
    /// The authorizer decides.
    Ask,
    Denied,
}

/// Which connections may receive a channel's events without a judgement of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readers {
    /// Every connection.
    Everyone,
    /// Every connection with an identity.
    Identified,
    /// Each connection must be judged.
    Judged,
}

/// Decides which users may do what. It has no state: one policy serves all threads.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    rules_by_segment: Lookup,
    authorizer: bool,
    rooms: RoomAccess,
    public: Option<(Vec<Pattern>, Lookup)>,
    names: KnownNames,
    users: Option<Retention>,
    everyone: Option<Retention>,
    keeps_history: bool,
    replay_limit: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(PolicyOptions::default())
    }
}

impl Policy {
    /// Returns a policy of these rules and defaults.
    pub fn new(options: PolicyOptions) -> Self {
        let public = options.public.map(|patterns| {
            let lookup = Lookup::new(patterns.iter().map(Pattern::as_str));
            (patterns, lookup)
        });
        Self {
            rules_by_segment: Lookup::new(options.rules.iter().map(|rule| rule.pattern.as_str())),
            keeps_history: options.users.is_some()
                || options.everyone.is_some()
                || options.rules.iter().any(|rule| rule.history.is_some()),
            replay_limit: options.replay_limit.unwrap_or(REPLAY_LIMIT),
            users: options.users,
            everyone: options.everyone,
            rules: options.rules,
            authorizer: options.authorizer,
            rooms: options.rooms,
            public,
            names: options.names,
        }
    }

    /// The names of rooms and of the feed.
    pub fn names(&self) -> &KnownNames {
        &self.names
    }

    /// Judges whether `who` (`None` for an anonymous connection) may do `action` on `channel`, with the reason. Allocates
    /// nothing.
    fn explain(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Explanation<'_> {
        let own = self.explain_alone(who, action, channel);
        if own.verdict == Verdict::Denied {
            return own;
        }
        let place = self.names.carried_place(channel);
        match place.map(|place| self.explain_place(who, action, place)) {
            Some(place) if place.verdict > own.verdict => place,
            _ => own,
        }
    }

    /// Returns the questions to the authorizer if the verdict is [`Verdict::Ask`]. It must allow all of them.
    fn open_questions(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Questions {
        let is_open = |explained: Explanation<'_>| explained.verdict == Verdict::Ask;
        let own = is_open(self.explain_alone(who, action, channel)).then(|| channel.clone());
        let room = match self.names.carried_place(channel) {
            Some(Place::Room(room)) if is_open(self.explain_alone(who, action, room)) => {
                Channel::new(room).ok() // a part of a channel's name that is one itself
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

    /// Judges only by the channel's name, without the place whose messages it carries.
    fn explain_alone(&self, who: Option<&Identity>, action: Action, channel: &str) -> Explanation<'_> {
        let room = self.names.is_room(channel);
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
        if self.authorizer {
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

    /// Returns which connections may receive an event on `channel`; called once for each event. For
    /// [`Readers::Judged`], each connection that matches by a pattern must be judged.
    fn readers(&self, channel: &Channel) -> Readers {
        let own = self.readers_alone(channel);
        match self.names.carried_place(channel) {
            None => own,
            Some(Place::Room(room)) => own.max(self.readers_alone(room)),
            Some(Place::Personal(_)) => Readers::Judged,
        }
    }

    fn readers_alone(&self, channel: &str) -> Readers {
        let room = self.names.is_room(channel);
        let rule = self.rule_for(channel);
        let rule = rule.map(|(_, rule)| rule.clauses(Action::Subscribe, room));
        let by_rule = rule.and_then(|clauses| clauses.iter().map(|(_, grant)| readers_of(grant)).max());
        match by_rule {
            Some(readers) if room => readers.max(Readers::Identified),
            Some(readers) => readers,
            None if self.authorizer || room => Readers::Judged,
            None if self.is_public(channel) => Readers::Everyone,
            None => Readers::Identified,
        }
    }

    /// Returns the claims that rules use, each once. A token's other claims need not be kept.
    pub fn wanted_claims(&self) -> Vec<Box<str>> {
        let rules = self.rules.iter();
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
            .map(|place| (place + 1, &self.rules[*place]))
            .find(|(_, rule)| rule.decides_access() && rule.pattern.matches(channel))
    }

    /// Returns the first rule whose pattern matches and that keeps history, with its number and its retention.
    fn history_rule(&self, channel: &str) -> Option<(usize, &Rule, Retention)> {
        let candidates = self.rules_by_segment.candidates(channel).iter();
        let mut rules = candidates.map(|place| (place + 1, &self.rules[*place]));
        rules.find_map(|(number, rule)| {
            let retention = rule.history.filter(|_| rule.pattern.matches(channel))?;
            Some((number, rule, retention))
        })
    }

    /// Returns the retention of an audience.
    fn retention(&self, audience: &Audience) -> Option<Retention> {
        match audience {
            Audience::Everyone => self.everyone,
            Audience::User(_) => self.users,
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
                self.rooms == RoomAccess::Authenticated,
                Reason::RoomDefault(self.rooms),
            ),
        }
    }

    /// Returns whether anonymous connections may use a channel that is not a room.
    fn is_public(&self, channel: &str) -> bool {
        match &self.public {
            Some((patterns, lookup)) => {
                let mut candidates = lookup.candidates(channel).iter();
                candidates.any(|place| patterns[*place].matches(channel))
            }
            None => !self.names.is_of_feed(channel),
        }
    }
}

/// Returns whether `who` is one of `users`, or an admin.
fn is_named(users: &[UserId], who: Option<&Identity>) -> bool {
    who.is_some_and(|who| users.contains(&who.user) || who.is_admin())
}

/// Judges `action` of `who` on the personal channel of `owner`, with the reason. No rule changes it.
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
