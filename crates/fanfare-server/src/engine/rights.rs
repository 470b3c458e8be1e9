//! What a user may do with a channel, asked outside of a connection: the same policy and authorizer as everywhere.

use std::future::Future;

use fanfare_core::{
    Channel, Identity,
    policy::{Action, Question, Verdict},
};
use futures_util::future::join_all;

use super::Node;

impl Node {
    /// Whether `who` may do `action` on `channel`, as far as the policy alone decides.
    pub fn verdict(&self, who: &Identity, action: Action, channel: &Channel) -> Verdict {
        self.policy().judge(Some(who), action, channel)
    }

    /// Whether `who` may do `action` on `channel`; waits for the authorizer where it decides. No answer means no.
    pub fn allows(
        &self,
        who: &Identity,
        action: Action,
        channel: &Channel,
    ) -> impl Future<Output = bool> + Send + use<> {
        let consulted = self.consult(who, action, channel);
        async move { consulted.await.unwrap_or(false) }
    }

    /// Like [`Self::allows`], but `None` where the authorizer decides and gives no answer.
    pub fn consult(
        &self,
        who: &Identity,
        action: Action,
        channel: &Channel,
    ) -> impl Future<Output = Option<bool>> + Send + use<> {
        let policy = self.policy();
        let known = match (policy.judge(Some(who), action, channel), &self.authorizer) {
            (Verdict::Allowed, _) => Ok(true),
            (Verdict::Denied, _) | (Verdict::Ask, None) => Ok(false),
            (Verdict::Ask, Some(authorizer)) => Err(authorizer),
        };
        let known = known.map_err(|authorizer| {
            let open = policy.open_questions(Some(who), action, channel);
            let questions = open.into_iter().map(|channel| Question {
                user: Some(who.user.clone()),
                action,
                channel,
            });
            questions
                .map(|question| authorizer.consult(question))
                .collect::<Vec<_>>()
        });
        async move {
            let answers = match known {
                Ok(known) => return Some(known),
                Err(asked) => join_all(asked).await,
            };
            if answers.contains(&Some(false)) {
                return Some(false);
            }
            answers.into_iter().collect::<Option<Vec<bool>>>().map(|_| true)
        }
    }
}
