//! The port to a program of the operator's own that decides where no rule does.

use super::Action;
use crate::{BoxFuture, Channel, UserId};

/// What an authorizer is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who wants it; `None` is an anonymous connection.
    pub user: Option<UserId>,
    /// What is wanted.
    pub action: Action,
    /// Where.
    pub channel: Channel,
}

/// Answers what the policy leaves open with [`Verdict::Ask`](super::Verdict::Ask).
pub trait Authorizer: Send + Sync {
    /// The answer, if it is at hand. Never waits.
    fn remembered(&self, question: &Question) -> Option<bool>;

    /// The answer. No answer in time, or none that can be understood, is `false`. The question goes on when the future
    /// is dropped, so that whoever asks the same next has the answer.
    fn ask(&self, question: Question) -> BoxFuture<'static, bool>;

    /// Like [`Self::ask`], but tells when there was no answer: for those who can come back for it. The future is ready at
    /// its first poll only if the answer was remembered.
    fn consult(&self, question: Question) -> BoxFuture<'static, Option<bool>> {
        let answer = self.ask(question);
        Box::pin(async move { Some(answer.await) })
    }

    /// How the questions ended that were put to it since the start, those not that an answer was remembered for.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// How questions to an [`Authorizer`] ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a yes.
    pub allowed: u64,
    /// With a no.
    pub denied: u64,
    /// With no answer in time, or none that could be understood.
    pub failed: u64,
}
