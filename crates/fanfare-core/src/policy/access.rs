//! Access control: the policy, and the authorizer if no rule decides. It answers all callers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use futures_util::future::{join_all, ready};

use super::{
    Action, Authorizer, AuthorizerAnswer, Counts, Explanation, KnownNames, Policy, Question, Questions,
    Readers, Reason, Verdict, explain_personal, is_named,
};
use crate::{
    Audience, BoxFuture, Channel, Event, Identity, Subscription,
    history::{History, Retention},
};

/// Decides access for all dialects and routes. Its policy can be replaced while it is in use.
pub struct AccessControl {
    policy: ArcSwap<Policy>,
    /// Whether the policy keeps history. It is a copy, so that an event without history needs no load of the policy.
    keeps_history: AtomicBool,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// The answer of [`AccessControl::judge`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Permission {
    /// Allowed.
    Allowed,
    /// Refused.
    Denied,
    /// The authorizer decides: see [`AccessControl::ask`].
    Pending(OpenQuestions),
}

/// The questions to the authorizer, which must allow all of them. By default there is none, and the answer is yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct OpenQuestions(Questions);

/// A permission and the reason for it, for people and programs.
#[derive(Debug)]
pub struct ExplainedPermission {
    /// The permission.
    pub permission: Permission,
    /// The reason as a label.
    pub code: &'static str,
    /// The reason as a sentence.
    pub reason: String,
    /// The rule that decided, if one did.
    pub rule: Option<DecidingRule>,
}

/// The rule that decided.
#[derive(Debug)]
pub struct DecidingRule {
    /// Its number, starting at 1.
    pub number: usize,
    /// Its pattern.
    pub pattern: String,
}

impl AccessControl {
    /// Returns the access control with this policy. Without an authorizer, questions to it are refused.
    pub fn new(policy: Policy, authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        Self {
            keeps_history: AtomicBool::new(policy.keeps_history),
            policy: ArcSwap::from_pointee(policy),
            authorizer,
        }
    }

    /// Replaces the policy for publications, new subscriptions, and deliveries by patterns. Subscriptions to channels stay.
    pub fn replace_policy(&self, policy: Policy) {
        self.keeps_history.store(policy.keeps_history, Relaxed);
        self.policy.store(Arc::new(policy));
    }

    /// Returns `true` if there is an authorizer.
    pub fn asks_authorizer(&self) -> bool {
        self.authorizer.is_some()
    }

    /// Returns the names of rooms and of the feed.
    pub fn names(&self) -> KnownNames {
        self.policy.load().names().clone()
    }

    /// Sets [`Event::history`] of `events` to [`History::Wanted`] if their audience has history.
    pub fn mark_history(&self, events: &mut [Event]) {
        if !self.keeps_history() {
            return;
        }
        let policy = self.policy.load();
        for event in events {
            let retention = policy.retention(&event.audience);
            event.history = retention.map_or(History::None, History::Wanted);
        }
    }

    /// Returns `true` if any audience has history.
    pub fn keeps_history(&self) -> bool {
        self.keeps_history.load(Relaxed)
    }

    /// Returns the maximum of events that one resume replays.
    pub fn replay_limit(&self) -> usize {
        self.policy.load().options.replay_limit
    }

    /// Returns the retention of an audience; `None` if it has no history.
    pub fn retention(&self, audience: &Audience) -> Option<Retention> {
        self.policy.load().retention(audience)
    }

    /// Returns the retention of an audience, and for a channel the rule that sets it.
    pub fn explain_history(&self, audience: &Audience) -> Option<(Retention, Option<DecidingRule>)> {
        let policy = self.policy.load();
        let Audience::Channel(channel) = audience else {
            return policy.retention(audience).map(|retention| (retention, None));
        };
        let (number, rule, retention) = policy.history_rule(channel)?;
        let pattern = rule.pattern.to_string();
        Some((retention, Some(DecidingRule { number, pattern })))
    }

    /// Returns the results of the questions to the authorizer; all zero without one.
    pub fn authorizer_counts(&self) -> Counts {
        let counts = self.authorizer.as_ref().map(|authorizer| authorizer.counts());
        counts.unwrap_or_default()
    }

    /// Judges whether `who` (`None` for an anonymous connection) may do `action` on `channel`.
    pub fn judge(&self, who: Option<&Identity>, action: Action, channel: &Channel) -> Permission {
        if who.is_some_and(|who| who.is_service) {
            return match action {
                Action::Subscribe => Permission::Allowed,
                // Backends publish through other doors.
                Action::Publish => Permission::Denied,
            };
        }
        explained(&self.policy.load(), who, action, channel).0
    }

    /// Judges like [`Self::judge`], and waits for the authorizer if it decides. The question is sent at the call.
    pub fn decide(
        &self,
        who: Option<&Identity>,
        action: Action,
        channel: &Channel,
    ) -> impl Future<Output = AuthorizerAnswer> + Send + use<> {
        let answer = match self.judge(who, action, channel) {
            Permission::Allowed => Ok(AuthorizerAnswer::Allowed),
            Permission::Denied => Ok(AuthorizerAnswer::Denied),
            Permission::Pending(open) => Err(self.ask(open)),
        };
        async move {
            match answer {
                Ok(known) => known,
                Err(asked) => asked.await,
            }
        }
    }

    /// Judges a subscription. A pattern is allowed, because each matching event is judged.
    pub fn may_subscribe(&self, who: Option<&Identity>, wanted: &Subscription) -> Permission {
        match wanted {
            Subscription::Personal(owner) => {
                let verdict = explain_personal(who, Action::Subscribe, owner).verdict;
                permission(verdict, Questions::new)
            }
            Subscription::Channel(channel) => self.judge(who, Action::Subscribe, channel),
            Subscription::Pattern(_) => Permission::Allowed,
        }
    }

    /// Judges a client's publication to `audience`. Every user may publish to a user, no client to everyone.
    pub fn may_publish(&self, who: Option<&Identity>, audience: &Audience) -> Permission {
        match audience {
            Audience::Channel(channel) => self.judge(who, Action::Publish, channel),
            Audience::User(_) if who.is_some() => Permission::Allowed,
            Audience::User(_) | Audience::Everyone => Permission::Denied,
        }
    }

    /// Returns the pattern of the first rule that matches `channel`. Metrics and traces show it instead of the channel.
    pub fn pattern_of(&self, channel: &Channel) -> Option<String> {
        let policy = self.policy.load();
        let rule = policy.rule_for(channel);
        rule.map(|(_, rule)| rule.pattern.as_str().to_owned())
    }

    /// Returns the connections that may receive an event on `channel`. Call it once for each event.
    pub fn readers(&self, channel: &Channel) -> Readers {
        self.policy.load().readers(channel)
    }

    /// Judges whether `who` may receive `event` on `channel`, whose readers are `readers`.
    pub fn may_receive(
        &self,
        who: Option<&Identity>,
        event: &Event,
        channel: &Channel,
        readers: Readers,
    ) -> Permission {
        let of_channel = match readers {
            Readers::Everyone => Permission::Allowed,
            Readers::Identified if who.is_some() => Permission::Allowed,
            Readers::Identified => Permission::Denied,
            Readers::Judged => self.judge(who, Action::Subscribe, channel),
        };
        of_channel.and(|| self.may_see(who, event))
    }

    /// Judges whether `who` may receive `event`, independent of its channel. A private event is for its users, for admins,
    /// and for the readers of [`Event::readers_of`].
    pub fn may_see(&self, who: Option<&Identity>, event: &Event) -> Permission {
        match (&event.private_to, &event.readers_of) {
            (None, _) => Permission::Allowed,
            (Some(users), _) if is_named(users, who) => Permission::Allowed,
            (Some(_), Some(channel)) => self.judge(who, Action::Subscribe, channel),
            (Some(_), None) => Permission::Denied,
        }
    }

    /// Judges whether `who` may do `action` on the channel of `audience`, with the reason; `None` for everyone.
    pub fn explain(
        &self,
        who: Option<&Identity>,
        action: Action,
        audience: &Audience,
    ) -> Option<ExplainedPermission> {
        let policy = self.policy.load();
        let (permission, reason) = match audience {
            Audience::Channel(channel) => explained(&policy, who, action, channel),
            Audience::User(owner) => {
                let Explanation { verdict, reason } = explain_personal(who, action, owner);
                (permission(verdict, Questions::new), reason)
            }
            Audience::Everyone => return None,
        };
        let rule = match &reason {
            Reason::Rule { number, rule, .. } => Some(DecidingRule {
                number: *number,
                pattern: rule.pattern.to_string(),
            }),
            _ => None,
        };
        Some(ExplainedPermission {
            permission,
            code: reason.code(),
            reason: reason.to_string(),
            rule,
        })
    }

    /// Returns the answer to all of `open` if the cached answers decide it. Only the questions without a cached answer stay
    /// in `open`.
    pub fn remembered(&self, open: &mut OpenQuestions) -> Option<AuthorizerAnswer> {
        let mut known = AuthorizerAnswer::Allowed;
        let mut left = Questions::new();
        for question in std::mem::take(&mut open.0) {
            let answer = match &self.authorizer {
                Some(authorizer) => authorizer.remembered(&question),
                None => Some(AuthorizerAnswer::Denied),
            };
            match answer {
                Some(answer) => known = known.max(answer),
                None => left.push(question),
            }
        }
        open.0 = left;
        (open.0.is_empty() || !known.is_allowed()).then_some(known)
    }

    /// Asks all questions at the call. The future is ready at its first poll if all answers are cached.
    pub fn ask(&self, open: OpenQuestions) -> impl Future<Output = AuthorizerAnswer> + Send + use<> {
        let asked = |question: Question| -> BoxFuture<'static, AuthorizerAnswer> {
            let Some(authorizer) = &self.authorizer else {
                return Box::pin(ready(AuthorizerAnswer::Denied));
            };
            match authorizer.remembered(&question) {
                Some(known) => Box::pin(ready(known)),
                None => authorizer.ask(question),
            }
        };
        let answers = join_all(open.0.into_iter().map(asked));
        async move {
            answers
                .await
                .into_iter()
                .max()
                .unwrap_or(AuthorizerAnswer::Allowed)
        }
    }
}

fn explained<'policy>(
    policy: &'policy Policy,
    who: Option<&Identity>,
    action: Action,
    channel: &Channel,
) -> (Permission, Reason<'policy>) {
    let Explanation { verdict, reason } = policy.explain(who, action, channel);
    let permission = permission(verdict, || policy.open_questions(who, action, channel));
    (permission, reason)
}

fn permission(verdict: Verdict, questions: impl FnOnce() -> Questions) -> Permission {
    match verdict {
        Verdict::Allowed => Permission::Allowed,
        Verdict::Denied => Permission::Denied,
        Verdict::Ask => match questions() {
            // Without a question there is no answer, which is a refusal.
            none if none.is_empty() => Permission::Denied,
            questions => Permission::Pending(OpenQuestions(questions)),
        },
    }
}

impl Permission {
    /// Returns the permission for both. `other` is not called if this is denied.
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Denied => Self::Denied,
            Self::Allowed => other(),
            Self::Pending(own) => match other() {
                Self::Denied => Self::Denied,
                Self::Allowed => Self::Pending(own),
                Self::Pending(other) => Self::Pending(own.with(other)),
            },
        }
    }
}

impl OpenQuestions {
    /// Asks with `ask` instead of the authorizer, one question after the other, until one is not allowed.
    ///
    /// # Errors
    /// Returns the first error of `ask`.
    pub async fn ask_by<E>(&self, ask: impl AsyncFn(&Question) -> Result<bool, E>) -> Result<bool, E> {
        for question in &self.0 {
            if !ask(question).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn with(mut self, other: Self) -> Self {
        for question in other.0 {
            if !self.0.contains(&question) {
                self.0.push(question);
            }
        }
        self
    }
}
