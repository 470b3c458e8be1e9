//! The port to the operator's own service that decides if no rule does.

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

/// An authorizer's answer. Of the answers to several questions, the greatest is the answer to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorizerAnswer {
    /// Allowed.
    Allowed,
    /// No answer arrived, which means no. A later question may be answered.
    Missing,
    /// Refused, or answered in an unknown form.
    Denied,
}

impl AuthorizerAnswer {
    /// Returns whether this allows it; without an answer nothing is allowed.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }

    /// Returns the answer to both questions.
    pub(super) fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Decides the questions that the policy leaves open.
pub trait Authorizer: Send + Sync {
    /// Returns the answer if it is cached. Never waits.
    fn remembered(&self, question: &Question) -> Option<AuthorizerAnswer>;

    /// Asks. The question continues after the future is dropped, so that the next caller with the same question
    /// finds the answer in the cache.
    fn ask(&self, question: Question) -> BoxFuture<'static, AuthorizerAnswer>;

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
