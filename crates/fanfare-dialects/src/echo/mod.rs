//! `echo`: sends every message back. It is the endpoint of protocol test suites and the smallest example of a
//! dialect; it is mounted only where a listener names it.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{
    About, BrokerHealth, Context, Conversation, Dialect, DialectDefaults, DialectFacts, DialectKind, Ending,
    Event, Handshake, Hearing, Hears, JsonMap, Message, NodeFacts, Offer, Options, Refusal, Rejection, Step,
    Steps,
};

/// The dialect.
pub(crate) struct Echo;

impl DialectKind for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn path(&self) -> &'static str {
        "/echo"
    }

    fn summary(&self) -> &'static str {
        "Sends every message back. For protocol test suites; mounted only where a listener names it."
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults::default()
    }

    fn open(&self, _options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Echo)
    }
}

impl Dialect for Echo {
    fn offer<'a>(&self, _handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }

    fn refuse(&self, refusal: Refusal, _about: &About<'_>) -> Rejection {
        let status = match refusal {
            Refusal::MissingCredential | Refusal::BadCredential | Refusal::ExpiredCredential => 401,
            Refusal::Forbidden => 403,
            Refusal::BadName => 400,
            Refusal::NameTaken => 409,
            Refusal::RateLimited => 429,
            Refusal::KeysUnavailable
            | Refusal::AtCapacity
            | Refusal::AddressAtCapacity
            | Refusal::UserAtCapacity
            | Refusal::ShuttingDown => 503,
        };
        Rejection::http(status, "")
    }

    fn end(&self, ending: Ending) -> (u16, &'static str) {
        match ending {
            Ending::TokenExpired => (1008, "token expired"),
            Ending::SlowConsumer => (1008, "slow consumer"),
            Ending::PingTimeout => (1008, "ping timeout"),
            Ending::RateLimited => (1008, "rate limit exceeded"),
            Ending::SessionTerminated => (1008, "session terminated"),
            Ending::Dismissed => (1008, "closed by an administrator"),
            Ending::ShuttingDown => (1001, "Server shutting down"),
            Ending::InternalError => (1011, "internal error"),
        }
    }

    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Mirror)
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Never,
            everyone: Hears::Never,
        }
    }

    fn render(&self, _event: &Event) -> Option<Bytes> {
        None
    }

    fn health(&self, _broker: &BrokerHealth, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    fn metrics(&self, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }
}

struct Mirror;

impl Conversation for Mirror {
    fn received(&mut self, message: Message<'_>, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(match message {
            Message::Text(text) => Step::SendText(Bytes::copy_from_slice(text.as_bytes())),
            Message::Binary(bytes) => Step::SendBinary(Bytes::copy_from_slice(bytes)),
        });
    }
}
