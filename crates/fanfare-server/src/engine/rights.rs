//! What a user may do with a channel, asked outside of a connection: the same policy and authorizer as everywhere.

use std::future::Future;

use fanfare_core::{
    Audience, Channel, Identity,
    policy::{Action, Question, Verdict},
};

use super::Node;

impl Node {
    /// Whether `who` may do `action` on `channel`, as far as that is known without waiting; `None` is for the
    /// authorizer to say. A name of a personal channel stands for that.
    pub fn allows_now(&self, who: &Identity, action: Action, channel: &Channel) -> Option<bool> {
        let verdict = match Audience::of_channel(channel) {
            Ok(Audience::User(owner)) => self.policy.explain_personal(Some(who), action, &owner).verdict,
            _ => self.policy.judge(Some(who), action, channel),
        };
        match verdict {
            Verdict::Allowed => Some(true),
            Verdict::Denied => Some(false),
            Verdict::Ask => self.authorizer.as_ref().map_or(Some(false), |authorizer| {
                authorizer.remembered(&question(who, action, channel))
            }),
        }
    }

    /// Whether `who` may do `action` on `channel`; waits for the authorizer where it decides.
    pub fn allows(
        &self,
        who: &Identity,
        action: Action,
        channel: &Channel,
    ) -> impl Future<Output = bool> + Send + use<> {
        let known = self.allows_now(who, action, channel);
        let authorizer = self.authorizer.clone().filter(|_| known.is_none());
        let question = question(who, action, channel);
        async move {
            match authorizer {
                Some(authorizer) => authorizer.ask(question).await,
                None => known.unwrap_or_default(),
            }
        }
    }
}

fn question(who: &Identity, action: Action, channel: &Channel) -> Question {
    Question {
        user: Some(who.user.clone()),
        action,
        channel: channel.clone(),
    }
}
