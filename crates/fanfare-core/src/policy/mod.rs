//! Who may hear and who may publish on which channel: one policy, the same in every dialect.
//!
//! In this order: the first rule whose pattern matches the channel decides each action that it names; else the
//! authorizer, where there is one; else, for a room, the `rooms` claim of the token; else a default. Two things stand
//! above all of it: an anonymous connection never sees a room, and the doors of backends are not asked.
//!
//! A channel that tells of the messages in a room or in a personal channel is open to those to whom both are.

mod authorizer;
mod explanation;
mod grant;
mod lookup;
mod matching;
mod place;
mod rule;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use crate::{Channel, Event, Identity, Pattern, UserId, names::is_room};
pub use authorizer::{Authorizer, Counts, Question};
pub use explanation::{Explanation, Reason};
pub use grant::{BadGrant, Grant};
use lookup::Lookup;
pub use place::Place;
pub use rule::{BadPattern, BadRule, Clause, Clauses, Rule, RulePattern};

/// The channel that is not public by default, nor is what is under it: what users write to each other goes there.
const NOT_PUBLIC: &str = "messages";

/// What a client wants to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// To hear what is published. To join a room is to subscribe to it.
    Subscribe,
    /// To publish.
    Publish,
}

/// Who may use a room of which neither a rule, nor an authorizer, nor the token says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomAccess {
    /// Everybody with an identity.
    #[default]
    Authenticated,
    /// Nobody.
    Nobody,
}

/// What a policy is made of.
#[derive(Debug, Clone, Default)]
pub struct PolicyOptions {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// Whether an authorizer is asked where no rule decides.
    pub authorizer: bool,
    /// Rooms by default.
    pub rooms: RoomAccess,
    /// The channels that anonymous connections may use by default, rooms never. `None` is all but `messages` and what
    /// is under it.
    pub public: Option<Vec<Pattern>>,
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// The authorizer decides.
    Ask,
}

/// Whom a channel's events may be shown without asking about each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readers {
    /// Every connection.
    Everyone,
    /// Every connection with an identity, and no anonymous one.
    Identified,
    /// Each must be judged.
    Judged,
}

/// Decides who may do what. Holds no state: one serves all threads.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    rules_by_segment: Lookup,
    authorizer: bool,
    rooms: RoomAccess,
    public: Option<(Vec<Pattern>, Lookup)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(PolicyOptions::default())
    }
}

impl Policy {
    /// A policy of these rules and defaults.
    pub fn new(options: PolicyOptions) -> Self {
        let public = options.public.map(|patterns| {
            let lookup = Lookup::new(patterns.iter().map(Pattern::as_str));
            (patterns, lookup)
        });
        Self {
            rules_by_segment: Lookup::new(options.rules.iter().map(|rule| rule.pattern.as_str())),
            rules: options.rules,
            authorizer: options.authorizer,
            rooms: options.rooms,
            public,
        }
    }

    /// Whether `who` (`None` is an anonymous connection) may do `action` on `channel`.
    pub fn judge(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Verdict {
        self.explain(who, action, channel).verdict
    }

    /// Like [`Policy::judge`], with what decided. Allocates nothing.
    pub fn explain(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Explanation<'_> {
        let own = self.explain_alone(who, action, channel);
        let place = Place::told_of_by(channel).filter(|_| own.verdict != Verdict::Denied);
        match place.map(|place| self.explain_place(who, action, place)) {
            // What is stricter decided.
            Some(place) if place.verdict == Verdict::Denied || own.verdict == Verdict::Allowed => {
                if place.verdict == Verdict::Allowed {
                    own
                } else {
                    place
                }
            }
            _ => own,
        }
    }

    /// Where the verdict is [`Verdict::Ask`], the channels that the authorizer is to be asked about. It must allow all.
    pub fn open_questions(
        &self,
        who: Option<&Identity>,
        action: Action,
        channel: &Channel,
    ) -> SmallVec<[Channel; 2]> {
        let is_open = |explained: Explanation<'_>| explained.verdict == Verdict::Ask;
        let own = is_open(self.explain_alone(who, action, channel)).then(|| channel.clone());
        let room = match Place::told_of_by(channel) {
            Some(Place::Room(room)) if is_open(self.explain_alone(who, action, room)) => {
                Channel::new(room).ok() // a part of a channel's name that is one itself
            }
            _ => None,
        };
        own.into_iter().chain(room).collect()
    }

    fn explain_place(&self, who: Option<&Identity>, action: Action, place: Place<'_>) -> Explanation<'_> {
        match place {
            Place::Room(room) => self.explain_alone(who, action, room),
            Place::Personal(owner) => explain_personal(who, action, owner),
        }
    }

    /// By the name of the channel alone, wherever it tells of.
    fn explain_alone(&self, who: Option<&Identity>, action: Action, channel: &str) -> Explanation<'_> {
        let room = is_room(channel);
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

    /// Whether `who` may do `action` on the personal channel of `owner`, with what decided. No rule touches it.
    pub fn explain_personal(
        &self,
        who: Option<&Identity>,
        action: Action,
        owner: &UserId,
    ) -> Explanation<'_> {
        explain_personal(who, action, owner)
    }

    /// Whether `who` may see `event` as far as it is private: those that it names may, and admins, and those who may
    /// read the channel that it names.
    pub fn may_see(&self, event: &Event, who: Option<&Identity>) -> Verdict {
        match (&event.private_to, &event.readers_of) {
            (None, _) => Verdict::Allowed,
            (Some(users), _) if may_see(users, who) => Verdict::Allowed,
            (Some(_), Some(channel)) => self.judge(who, Action::Subscribe, channel),
            (Some(_), None) => Verdict::Denied,
        }
    }

    /// Whom an event on `channel` may be shown, asked once for each event. Where the answer is [`Readers::Judged`],
    /// those who hear the channel through a pattern must be judged one by one.
    pub fn readers(&self, channel: &Channel) -> Readers {
        let own = self.readers_alone(channel);
        match Place::told_of_by(channel) {
            None => own,
            Some(Place::Room(room)) => own.max(self.readers_alone(room)),
            Some(Place::Personal(_)) => Readers::Judged,
        }
    }

    fn readers_alone(&self, channel: &str) -> Readers {
        let room = is_room(channel);
        let rule = self
            .rule_for(channel)
            .map(|(_, rule)| rule.clauses(Action::Subscribe, room));
        let by_rule = rule.and_then(|clauses| clauses.iter().map(|(_, grant)| readers_of(grant)).max());
        match by_rule {
            Some(readers) if room => readers.max(Readers::Identified),
            Some(readers) => readers,
            None if self.authorizer || room => Readers::Judged,
            None if self.is_public(channel) => Readers::Everyone,
            None => Readers::Identified,
        }
    }

    /// Whether somebody may not read `channel`, so that [`Policy::readers`] must be looked at before an event is shown
    /// to those who hear it through a pattern.
    pub fn needs_judging(&self, channel: &Channel) -> bool {
        self.readers(channel) != Readers::Everyone
    }

    /// The claims that rules ask for, each once. A token's other claims need not be kept.
    pub fn wanted_claims(&self) -> Vec<Box<str>> {
        let grants = self
            .rules
            .iter()
            .flat_map(|rule| [&rule.subscribe, &rule.publish, &rule.join])
            .flatten();
        let mut names: Vec<Box<str>> = grants
            .filter_map(|grant| match grant {
                Grant::Claim { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The first rule whose pattern matches, with its number.
    fn rule_for(&self, channel: &str) -> Option<(usize, &Rule)> {
        let candidates = self.rules_by_segment.candidates(channel).iter();
        candidates
            .map(|place| (place + 1, &self.rules[*place]))
            .find(|(_, rule)| rule.pattern.matches(channel))
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

    /// Whether anonymous connections may use a channel that is no room.
    fn is_public(&self, channel: &str) -> bool {
        match &self.public {
            Some((patterns, lookup)) => {
                let mut candidates = lookup.candidates(channel).iter();
                candidates.any(|place| patterns[*place].matches(channel))
            }
            None => !channel
                .strip_prefix(NOT_PUBLIC)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':'])),
        }
    }
}

/// Whether `who` is one of `users`, or an admin.
fn may_see(users: &[UserId], who: Option<&Identity>) -> bool {
    who.is_some_and(|who| users.contains(&who.user) || who.is_admin())
}

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
