//! The port to the operator's own service that decides where no rule does.

use super::Action;
use crate::{BoxFuture, Channel, UserId};

/// A question to an authorizer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The user; `None` for an anonymous connection.
    pub user: Option<UserId>,
    /// The action.
    pub action: Action,
    /// The channel.
    pub channel: Channel,
}

/// Decides what the policy leaves open with [`Verdict::Ask`](super::Verdict::Ask).
pub trait Authorizer: Send + Sync {
    /// Returns the answer if it is cached. Never waits.
    fn remembered(&self, question: &Question) -> Option<bool>;

    /// Asks. A late answer, or one that cannot be read, is `false`. The question continues after the future is
    /// dropped, so that the next caller with the same question finds the answer in the cache.
    fn ask(&self, question: Question) -> BoxFuture<'static, bool>;

    /// Like [`Self::ask`], but returns `None` if there was no answer, for callers that can ask again. The
    /// future is ready at its first poll only if the answer was cached.
    fn consult(&self, question: Question) -> BoxFuture<'static, Option<bool>> {
        let answer = self.ask(question);
        Box::pin(async move { Some(answer.await) })
    }

    /// Returns how the questions since the start ended, without those that the cache answered.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// How questions to an [`Authorizer`] ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allowed.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Late, or not readable.
    pub failed: u64,
}
