//! `notify`: push to one user. A client authenticates with a token in the query and only receives:
//! `{"type","payload","timestamp"}` for each event for its user or for everyone.

mod reports;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use fanfare_core::{
    About, Audience, BrokerHealth, Context, Conversation, Description, Dialect, DialectDefaults,
    DialectFacts, DialectKind, Ending, Event, Handshake, Heard, Hearing, Hears, JsonMap, ListenPlan,
    Listening, Message, NodeFacts, Offer, Options, Refusal, Rejection, Step, Steps, timestamp,
};

use crate::describe;

/// The type of an event that names none.
const DEFAULT_TYPE: &str = "notification";

/// The dialect.
pub(crate) struct Notify;

impl DialectKind for Notify {
    fn name(&self) -> &'static str {
        "notify"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        let token = wanted.token.filter(|_| wanted.channels.is_empty())?;
        // Every message of this protocol is an event.
        Some(ListenPlan::connect(self.path(), &[("token", token)], |_| {
            Heard::Event
        }))
    }

    fn summary(&self) -> &'static str {
        "Per-user push: a client listens, backends publish to its user."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::part::<reports::Api>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults {
            binds: &["0.0.0.0:8081"],
            max_message_size: 512,
            ..DialectDefaults::default()
        }
    }

    fn open(&self, _options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Notify)
    }
}

impl Dialect for Notify {
    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        match handshake.credential("token")? {
            Some(token) if !token.is_empty() => Ok(Offer::of_token(token)),
            _ => Err(Refusal::MissingCredential),
        }
    }

    fn refuse(&self, refusal: Refusal, _about: &About<'_>) -> Rejection {
        let (status, body) = match refusal {
            Refusal::MissingCredential => (401, r#"{"error":"missing token parameter"}"#),
            Refusal::BadCredential | Refusal::ExpiredCredential => {
                (401, r#"{"error":"invalid or expired token"}"#)
            }
            Refusal::KeysUnavailable => (503, r#"{"error":"token cannot be verified at the moment"}"#),
            Refusal::Forbidden => (403, r#"{"error":"forbidden"}"#),
            Refusal::BadName => (400, r#"{"error":"bad name"}"#),
            Refusal::NameTaken => (409, r#"{"error":"name taken"}"#),
            Refusal::AtCapacity | Refusal::AddressAtCapacity | Refusal::UserAtCapacity => (503, ""),
            Refusal::RateLimited => (429, r#"{"error":"too many requests"}"#),
            Refusal::ShuttingDown => (503, r#"{"error":"Server shutting down"}"#),
        };
        Rejection::http(status, body)
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
        Box::new(Listener) // without fields, so nothing is allocated
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Always,
            everyone: Hears::Always,
        }
    }

    fn render(&self, event: &Event) -> Option<Bytes> {
        match event.audience {
            Audience::User(_) | Audience::Everyone => {}
            Audience::Channel(_) => return None,
        }
        let kind = serde_json::to_string(event.kind.as_deref().unwrap_or(DEFAULT_TYPE)).ok()?;
        let payload = event.data.as_str();
        let mut text = String::with_capacity(kind.len() + payload.len() + 64);
        for part in [
            r#"{"type":"#,
            &kind,
            r#","payload":"#,
            payload,
            r#","timestamp":""#,
        ] {
            text.push_str(part);
        }
        text.push_str(&timestamp(event.timestamp).to_string());
        text.push_str("\"}");
        Some(text.into())
    }

    fn health(&self, broker: &BrokerHealth, _node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::health(broker, own)
    }

    fn metrics(&self, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::metrics(node, own)
    }
}

/// A connection of this dialect. It ignores text.
struct Listener;

impl Conversation for Listener {
    fn received(&mut self, message: Message<'_>, _context: &Context<'_>, steps: &mut Steps) {
        match message {
            Message::Text(_) => {}
            Message::Binary(_) => {
                steps.push(Step::Close(1003, Cow::Borrowed("binary frames are not accepted")));
            }
        }
    }
}
