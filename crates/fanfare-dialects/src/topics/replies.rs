//! Renders the server's replies, with fields in the documented order.

use std::{borrow::Cow, time::SystemTime};

use fanfare_core::{Denial, Step, history::Resumption, timestamp};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Reply<'a> {
    /// The token was accepted; the connection is that user's.
    AuthSuccess {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<&'a Resumption>,
    },
    /// The token was not accepted, or has expired.
    AuthError {
        message: &'static str,
        code: u16,
    },
    Subscribed {
        topic: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<&'a Resumption>,
    },
    /// The subscription has ended.
    Unsubscribed {
        topic: &'a str,
    },
    Error(&'a FrameError),
    Pong,
}

#[derive(Debug, Serialize)]
pub(super) struct FrameError {
    code: u16,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Details {
    field: Cow<'static, str>,
    issue: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<Box<str>>,
}

impl Reply<'_> {
    /// Returns the error for a token, with this text.
    pub(super) fn unauthenticated(message: &'static str) -> Self {
        Self::AuthError { message, code: 401 }
    }

    /// Returns the step that sends this reply.
    pub(super) fn at(&self, now: SystemTime) -> Step {
        #[derive(Serialize)]
        struct Timestamped<'a> {
            #[serde(flatten)]
            reply: &'a Reply<'a>,
            timestamp: String,
        }
        let frame = Timestamped {
            reply: self,
            timestamp: timestamp(now).to_string(),
        };
        // Texts and numbers under fixed names always serialise.
        Step::text(serde_json::to_vec(&frame).unwrap_or_default())
    }
}

impl FrameError {
    pub(super) fn in_field(field: impl Into<Cow<'static, str>>, issue: impl Into<Cow<'static, str>>) -> Self {
        Self::detailed(400, "Invalid message format", field, issue)
    }

    /// Returns the error for a topic that is forbidden by the policy or by its kind.
    pub(super) fn forbidden(issue: &'static str, topic: &str) -> Self {
        Self::detailed(403, "Forbidden", "topic", issue).about(topic)
    }

    pub(super) fn unauthorized(message: &'static str) -> Self {
        Self::plain(401, message)
    }

    pub(super) fn limited() -> Self {
        Self::plain(429, "Too many messages")
    }

    /// Returns the error for a denied subscribe, unsubscribe or publish on `topic`.
    pub(super) fn denied(denial: Denial, topic: &str) -> Self {
        match denial {
            Denial::Forbidden | Denial::NotMember => Self::forbidden("not allowed", topic),
            Denial::TooManySubscriptions => {
                let issue = "the connection has as many as it may";
                Self::detailed(400, "Too many subscriptions", "topic", issue).about(topic)
            }
            Denial::ReservedType => Self::in_field("eventType", "reserved for the server"),
            Denial::BadCredential
            | Denial::ExpiredCredential
            | Denial::KeysUnavailable
            | Denial::OtherUser => Self::unauthorized("Authentication required"),
            Denial::UserAtCapacity | Denial::NotConnected => Self::plain(500, "Internal server error"),
        }
    }

    pub(super) fn about(mut self, topic: &str) -> Self {
        if let Some(details) = &mut self.details {
            details.topic = Some(topic.into());
        }
        self
    }

    fn plain(code: u16, message: &'static str) -> Self {
        Self {
            code,
            message,
            details: None,
        }
    }

    fn detailed(
        code: u16,
        message: &'static str,
        field: impl Into<Cow<'static, str>>,
        issue: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            details: Some(Details {
                field: field.into(),
                issue: issue.into(),
                topic: None,
            }),
            ..Self::plain(code, message)
        }
    }
}
