//! Everything that one can do with a channel, each with what decides it: for operators.

use fanfare_core::{
    Audience, Identity,
    policy::{AccessControl, Action, ExplainedPermission, Permission},
};

/// What is decided about one thing that one can do with a channel.
pub struct ExplainedAction {
    /// `subscribe`, `join` or `publish`.
    pub action: &'static str,
    /// The permission, and why.
    pub explained: ExplainedPermission,
}

/// Decides everything that one can do with the channel of `audience`. Joining a `room` is subscribing to it, by another name.
pub fn decide(
    access: &AccessControl,
    who: Option<&Identity>,
    audience: &Audience,
    room: bool,
) -> Vec<ExplainedAction> {
    let all = [
        ("subscribe", Action::Subscribe, true),
        ("join", Action::Subscribe, room),
        ("publish", Action::Publish, true),
    ];
    let possible = all.into_iter().filter(|(_, _, possible)| *possible);
    let decision = |(action, of, _)| {
        let explained = access.explain(who, of, audience)?;
        Some(ExplainedAction { action, explained })
    };
    possible.filter_map(decision).collect()
}

impl ExplainedAction {
    /// A stable name of the verdict.
    pub fn verdict(&self) -> &'static str {
        match self.explained.permission {
            Permission::Allowed => "allowed",
            Permission::Denied => "refused",
            Permission::Pending(_) => "authorizer",
        }
    }
}
