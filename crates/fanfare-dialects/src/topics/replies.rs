//! What a connection is told about what it said, with fields in the order in which people read them.

use std::{borrow::Cow, time::SystemTime};

use fanfare_core::{Denial, Step, timestamp};
use serde::Serialize;

/// An answer, less its time.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Reply<'a> {
    /// The connection is that user's now.
    AuthSuccess { user_id: &'a str },
    /// A token was not accepted, or is no longer good.
    AuthError { message: &'static str, code: u16 },
    /// What is published there is sent from now on.
    Subscribed { topic: &'a str },
    /// It is not.
    Unsubscribed { topic: &'a str },
    /// Something was not done.
    Error(&'a Problem),
    /// The answer to `ping`.
    Pong,
}

/// Why something was not done.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    code: u16,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Details {
    field: Cow<'static, str>,
    issue: Cow<'static, str>,
    /// The topic it is about: the answers to a list are told apart by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<Box<str>>,
}

impl Reply<'_> {
    /// A token was not accepted, in these words.
    pub(super) fn unauthenticated(message: &'static str) -> Self {
        Self::AuthError { message, code: 401 }
    }

    /// Sends it.
    pub(super) fn at(&self, now: SystemTime) -> Step {
        #[derive(Serialize)]
        struct Frame<'a> {
            #[serde(flatten)]
            reply: &'a Reply<'a>,
            timestamp: String,
        }
        let frame = Frame {
            reply: self,
            timestamp: timestamp(now).to_string(),
        };
        // Texts and numbers under fixed names always serialise.
        Step::SendText(serde_json::to_vec(&frame).unwrap_or_default().into())
    }
}

impl Problem {
    /// A field of a frame is not as it must be.
    pub(super) fn in_field(field: impl Into<Cow<'static, str>>, issue: impl Into<Cow<'static, str>>) -> Self {
        Self::detailed(400, "Invalid message format", field, issue)
    }

    /// The access rules, or the kind of topic, say no.
    pub(super) fn forbidden(issue: &'static str, topic: &str) -> Self {
        Self::detailed(403, "Forbidden", "topic", issue).about(topic)
    }

    /// One must be somebody for that; `message` says why one is not.
    pub(super) fn unauthorized(message: &'static str) -> Self {
        Self::plain(401, message)
    }

    /// More messages came than are taken.
    pub(super) fn limited() -> Self {
        Self::plain(429, "Too many messages")
    }

    /// What the server says when asked to subscribe to, unsubscribe from or publish on `topic`.
    pub(super) fn denied(denial: Denial, topic: &str) -> Self {
        match denial {
            Denial::Forbidden | Denial::NotMember => Self::forbidden("not allowed", topic),
            Denial::TooManySubscriptions => Self::detailed(
                400,
                "Too many subscriptions",
                "topic",
                "the connection has as many as it may",
            )
            .about(topic),
            Denial::ReservedType => Self::in_field("eventType", "reserved for the server"),
            Denial::BadCredential
            | Denial::ExpiredCredential
            | Denial::KeysUnavailable
            | Denial::OtherUser => Self::unauthorized("Authentication required"),
            Denial::UserAtCapacity | Denial::NotConnected => Self::plain(500, "Internal server error"),
        }
    }

    /// The same, naming the topic.
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
