//! Builds the access control from the configuration: the policy of `fanfare_core`, and the webhook that answers what
//! the policy leaves open.

mod explain;
#[cfg(test)]
mod tests;
mod webhook;

use fanfare_core::policy::{BadGrant, BadPattern, BadRule, Grant, Policy, PolicyOptions, Rule, RulePattern};

use crate::config::{ChannelHistory, ChannelRule, Config};
pub use explain::{ExplainedAction, decide};
pub use webhook::{NoAnswer, Webhook};

/// Why the policy or the authorizer cannot be built. A configuration that passed the checks causes neither.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The pattern of a rule, by its number from 1.
    #[error("rule {0}: {1}")]
    Pattern(usize, #[source] BadPattern),
    /// One of a rule's grants.
    #[error("rule {0}: {1}")]
    Grant(usize, #[source] BadGrant),
    /// A rule as a whole.
    #[error("rule {0}: {1}")]
    Rule(usize, #[source] BadRule),
    /// The authorizer's address is not an HTTP URL.
    #[error("the authorizer's address is no http or https URL")]
    Url,
    /// The HTTP client for the authorizer cannot start.
    #[error("the authorizer's HTTP client cannot start: {0}")]
    Client(#[source] reqwest::Error),
}

/// Returns the policy of a configuration, over `defaults` without rules.
///
/// # Errors
/// If a rule is invalid.
pub fn policy(config: &Config, defaults: PolicyOptions) -> Result<Policy, AccessError> {
    let rules = (1..)
        .zip(&config.channel)
        .map(|(number, texts)| rule(number, texts))
        .collect::<Result<_, _>>()?;
    Ok(Policy::new(PolicyOptions {
        rules,
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
