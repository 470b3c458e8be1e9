//! Builds the access control from the configuration: the policy of `fanfare_core`, and the webhook that answers what
//! the policy leaves open.

#[cfg(test)]
mod tests;
mod webhook;

use fanfare_core::{
    Audience, Identity,
    policy::{
        AccessControl, Action, BadGrant, BadPattern, BadRule, ExplainedPermission, Grant, Permission, Policy,
        PolicyOptions, Rule, RulePattern,
    },
};

use crate::config::{ChannelHistory, ChannelRule, Config};
pub(crate) use webhook::Webhook;

/// Why the policy or the authorizer cannot be built. A configuration that passed the checks causes neither.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// The pattern of a rule, by its number from 1.
    #[error("rule {0}: {1}")]
    Pattern(usize, #[source] BadPattern),
    #[error("rule {0}: {1}")]
    Grant(usize, #[source] BadGrant),
    #[error("rule {0}: {1}")]
    Rule(usize, #[source] BadRule),
    #[error("the authorizer's address is no http or https URL")]
    Url,
    #[error("the authorizer's HTTP client cannot start: {0}")]
    Client(#[source] reqwest::Error),
}

/// What is decided about one thing that one can do with a channel.
pub(crate) struct ExplainedAction {
    /// `subscribe`, `join` or `publish`.
    pub(crate) action: &'static str,
    pub(crate) explained: ExplainedPermission,
}

/// Decides everything that one can do with the channel of `audience`. Joining a `room` is subscribing to it, by another name.
pub(crate) fn decide(
    access: &AccessControl,
    who: Option<&Identity>,
    audience: &Audience,
    room: bool,
) -> Vec<ExplainedAction> {
    let join = room.then_some(("join", Action::Subscribe));
    let actions = [
        Some(("subscribe", Action::Subscribe)),
        join,
        Some(("publish", Action::Publish)),
    ];
    let decision = |(action, of)| {
        let explained = access.explain(who, of, audience)?;
        Some(ExplainedAction { action, explained })
    };
    actions.into_iter().flatten().filter_map(decision).collect()
}

impl ExplainedAction {
    /// A stable name of the verdict.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.explained.permission {
            Permission::Allowed => "allowed",
            Permission::Denied => "refused",
            Permission::Pending(_) => "authorizer",
        }
    }
}

/// Returns the policy of a configuration, over `defaults` without rules.
pub(crate) fn policy(config: &Config, defaults: PolicyOptions) -> Result<Policy, AccessError> {
    let rules = (1..).zip(&config.channel);
    let rules = rules.map(|(number, texts)| rule(number, texts));
    Ok(Policy::new(PolicyOptions {
        rules: rules.collect::<Result<_, _>>()?,
        authorizer: config.authorizer.url.is_some(),
        users: config.history.users.retention(),
        everyone: config.history.everyone.retention(),
        replay_limit: Some(config.history.replay_limit),
        ..defaults
    }))
}

fn rule(number: usize, texts: &ChannelRule) -> Result<Rule, AccessError> {
    let grant = |text: &Option<String>| -> Result<Option<Grant>, AccessError> {
        let grant = text.as_deref().map(str::parse).transpose();
        grant.map_err(|reason| AccessError::Grant(number, reason))
    };
    let rule = Rule {
        pattern: RulePattern::new(&texts.pattern).map_err(|reason| AccessError::Pattern(number, reason))?,
        subscribe: grant(&texts.subscribe)?,
        publish: grant(&texts.publish)?,
        join: grant(&texts.join)?,
        history: texts.history.as_ref().map(ChannelHistory::retention),
    };
    rule.check().map_err(|reason| AccessError::Rule(number, reason))?;
    Ok(rule)
}
