//! The port to the operator's service that decides if no rule does.

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

/// An authorizer's answer. The answer to several questions together is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorizerAnswer {
    /// Allowed.
    Allowed,
    /// No answer arrived, so it is refused. A later question may get an answer.
    Missing,
    /// Refused, or the answer has an unknown form.
    Denied,
}

impl AuthorizerAnswer {
    /// Returns `true` if it is allowed. A missing answer does not allow it.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// The port to an authorizer, which decides if the policy does not.
pub trait Authorizer: Send + Sync {
    /// Returns the answer if it is cached, without waiting.
    fn remembered(&self, question: &Question) -> Option<AuthorizerAnswer>;

    /// Asks the authorizer. The question continues after the future is dropped, so a later caller finds the answer in the
    /// cache.
    fn ask(&self, question: Question) -> BoxFuture<'static, AuthorizerAnswer>;

    /// Returns the results of the questions since the start, without those that the cache answered.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// The numbers of questions to an [`Authorizer`], by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allowed.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Late, or with an unreadable answer.
    pub failed: u64,
}
