//! `topics`: publish and subscribe on channels, with wildcards. A client connects without a user, authenticates
//! with an `auth` message, subscribes, and may publish.
//!
//! [`conversation`] is one connection's state; [`frames`] parses its messages, [`replies`] renders replies and
//! [`events`] events. [`metadata`] removes what a client claims about the sender. [`settings`] has the options.

mod conversation;
mod events;
mod failures;
mod frames;
mod listen;
mod metadata;
mod replies;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::describe;
use bytes::Bytes;
use fanfare_core::{
    About, BrokerHealth, Conversation, Description, Dialect, DialectDefaults, DialectFacts, DialectKind,
    Ending, Event, Handshake, Hearing, Hears, HttpError, HttpReply, JsonMap, ListenPlan, Listening,
    NodeFacts, Offer, Options, Refusal, Rejection,
};
use settings::AuthTimeouts;

/// The dialect, before it is configured.
pub(crate) struct Kind;

impl DialectKind for Kind {
    fn name(&self) -> &'static str {
        "topics"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        listen::plan(self.path(), wanted)
    }

    fn summary(&self) -> &'static str {
        "Publish and subscribe: clients name the topics they hear, with wildcards, and publish on them."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::refusing::<failures::Api, failures::FailedError<'_>>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        settings::DEFAULTS
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Topics(Arc::new(AuthTimeouts::of(options))))
    }
}

/// The configured dialect.
struct Topics(Arc<AuthTimeouts>);

impl Dialect for Topics {
    fn offer<'a>(&self, _handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }

    fn refuse(&self, refusal: Refusal, _about: &About<'_>) -> Rejection {
        match refusal {
            Refusal::AtCapacity => Rejection::close(1008, "server at capacity"),
            Refusal::AddressAtCapacity => Rejection::close(1008, "too many connections from this address"),
            Refusal::UserAtCapacity => Rejection::close(1008, conversation::TOO_MANY_OF_USER),
            Refusal::MissingCredential => failures::refuse(401, "Authentication required"),
            Refusal::BadCredential => failures::refuse(401, "Invalid token"),
            Refusal::ExpiredCredential => failures::refuse(401, "Token expired"),
            Refusal::KeysUnavailable => failures::refuse(503, "Token cannot be verified at the moment"),
            Refusal::Forbidden => failures::refuse(403, "Forbidden"),
            Refusal::BadName => failures::refuse(400, "Bad name"),
            Refusal::NameTaken => failures::refuse(409, "Name taken"),
            Refusal::RateLimited => failures::refuse(429, "Too many requests"),
            Refusal::ShuttingDown => failures::refuse(503, "Server shutting down"),
        }
    }

    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(conversation::Talk::new(Arc::clone(&self.0)))
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Subscribed,
            everyone: Hears::Subscribed,
        }
    }

    fn render(&self, event: &Event) -> Option<Bytes> {
        events::render(event)
    }

    fn own_types(&self) -> &'static [&'static str] {
        &[
            "auth_success",
            "auth_error",
            "subscribed",
            "unsubscribed",
            "error",
            "pong",
            "message.sent",
        ]
    }

    fn end(&self, ending: Ending) -> (u16, &'static str) {
        match ending {
            Ending::TokenExpired => (1008, conversation::TOKEN_EXPIRED),
            Ending::SlowConsumer => (1008, "slow consumer"),
            Ending::PingTimeout => (1008, "ping timeout"),
            Ending::RateLimited => (1008, "rate limit exceeded"),
            Ending::SessionTerminated => (1008, "session terminated"),
            Ending::Dismissed => (1008, "closed by an administrator"),
            Ending::ShuttingDown => (1001, "Server shutting down"),
            Ending::InternalError => (1011, "internal error"),
        }
    }

    fn health(&self, _broker: &BrokerHealth, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    fn metrics(&self, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        failures::reply(error.status, error.message)
    }
}
