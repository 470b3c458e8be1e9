//! Builds the access control from the configuration: the policy of `fanfare_core`, and the webhook that decides if no rule does.

#[cfg(test)]
mod tests;
mod webhook;

use fanfare_core::{
    Audience, Identity,
    policy::{AccessControl, Action, ExplainedPermission, Permission, Policy, PolicyOptions},
};

use crate::config::Config;
pub(crate) use webhook::Webhook;

/// The decision about one action on a channel.
pub(crate) struct ExplainedAction {
    /// `subscribe`, `join` or `publish`.
    pub(crate) action: &'static str,
    pub(crate) explained: ExplainedPermission,
}

/// Decides each action of `identity` on the channel of `audience`. Joining a `room` is a subscription by another name.
pub(crate) fn decide(
    access: &AccessControl,
    identity: Option<&Identity>,
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
        let explained = access.explain(identity, of, audience)?;
        Some(ExplainedAction { action, explained })
    };
    actions.into_iter().flatten().filter_map(decision).collect()
}

impl ExplainedAction {
    /// Returns the verdict's name, which is stable.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.explained.permission {
            Permission::Allowed => "allowed",
            Permission::Denied => "refused",
            Permission::Pending(_) => "authorizer",
        }
    }
}

/// Returns the policy of a configuration, over `defaults` without rules.
pub(crate) fn policy(config: &Config, defaults: PolicyOptions) -> Policy {
    Policy::new(PolicyOptions {
        rules: config.channel.clone(),
        authorizer: config.authorizer.url.is_some(),
        users: config.history.users.retention(),
        everyone: config.history.everyone.retention(),
        replay_limit: config.history.replay_limit,
        ..defaults
    })
}
