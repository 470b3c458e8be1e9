//! `realtime`: clients subscribe to channels, publish on them, and send messages to each other. Without a token
//! a client is anonymous: it uses public channels, and neither sends nor receives direct messages.
//!
//! [`door`] reads the handshake; [`conversation`] is one connection's state; [`frames`] parses its messages and
//! [`render`] renders the server's. Over HTTP, [`reports`] has the figures and [`errors`] the errors.

mod conversation;
mod door;
mod errors;
mod frames;
mod listen;
mod render;
mod reports;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{
    About, BrokerHealth, Call, Conversation, Description, Dialect, DialectDefaults, DialectFacts,
    DialectKind, Ending, Endpoint, Event, Handshake, Hearing, Hears, HttpError, HttpReply, Identity, JsonMap,
    ListenPlan, Listening, NodeFacts, Offer, OptionKind, OptionSpec, Options, Pattern, Plan, Refusal,
    Rejection, policy::PolicyOptions,
};

use crate::describe;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "require_auth",
        doc: "Whether a client must have a token. Without one it is anonymous.",
        kind: OptionKind::Bool,
        default: "false",
    },
    OptionSpec {
        name: "required_roles",
        doc: "Roles that a client must have, all of them. Any role here makes a token a must.",
        kind: OptionKind::Texts,
        default: "[]",
    },
    OptionSpec {
        name: "public",
        doc: "The channels that anonymous clients may use; rooms and personal channels never are. \
              Empty stands for all but `messages` and what is under it.",
        kind: OptionKind::Patterns,
        default: "[]",
    },
];

/// The dialect, before it is configured.
pub(crate) struct Kind;

impl DialectKind for Kind {
    fn name(&self) -> &'static str {
        "realtime"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        listen::plan(self.path(), wanted)
    }

    fn summary(&self) -> &'static str {
        "Channels and direct messages: clients subscribe, broadcast, and write to each other."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::refusing::<reports::Api, errors::ApiError<'_>>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults {
            binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
            max_connections: 10_000,
            max_message_size: 64 * 1024,
            options: OPTIONS,
            production: &[("realtime.require_auth", "true")],
            ..DialectDefaults::default()
        }
    }

    fn policy_options(&self) -> &'static [&'static str] {
        &["public"]
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Realtime {
            require_auth: options.flag("require_auth"),
            required_roles: options.texts("required_roles").to_vec(),
            public: options.patterns("public").to_vec(),
        })
    }
}

/// The configured dialect.
struct Realtime {
    require_auth: bool,
    required_roles: Vec<String>,
    /// If empty, the policy's default decides.
    public: Vec<Pattern>,
}

impl Dialect for Realtime {
    fn claims(&self, handshake: &Handshake<'_>) -> bool {
        door::claims(handshake)
    }

    fn recognizes(&self, text: &str) -> bool {
        frames::read(text).is_ok()
    }

    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        let offer = door::offer(handshake)?;
        if offer.token.is_none() {
            self.admit(None)?;
        }
        Ok(offer)
    }

    fn shape_policy(&self, policy: &mut PolicyOptions) {
        if !self.public.is_empty() {
            policy.public = Some(self.public.clone());
        }
    }

    /// With required roles, a token is required, so that an anonymous client cannot get around them.
    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        match identity {
            Some(user) if self.required_roles.iter().all(|role| user.has_role(role)) => Ok(()),
            Some(_) => Err(Refusal::Forbidden),
            None if self.require_auth || !self.required_roles.is_empty() => Err(Refusal::MissingCredential),
            None => Ok(()),
        }
    }

    fn open_to_anyone(&self) -> Option<&'static str> {
        self.admit(None).ok().map(|()| {
            "subscribe to and publish on every public channel that no access rule closes, without a token: \
             realtime.require_auth = true forbids it"
        })
    }

    fn refuse(&self, refusal: Refusal, about: &About<'_>) -> Rejection {
        errors::refuse(refusal, about)
    }

    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<conversation::Client>::default()
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Always,
            everyone: Hears::Subscribed,
        }
    }

    fn render(&self, event: &Event) -> Option<Bytes> {
        Some(render::event(event))
    }

    /// `Broadcast` and `DirectMessage` are not reserved: they carry clients' messages.
    fn own_types(&self) -> &'static [&'static str] {
        &["Status", "Ack", "Error", "Pong"]
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

    fn health(&self, _broker: &BrokerHealth, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::health(node, own)
    }

    fn metrics(&self, _node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::metrics(own)
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[Endpoint {
            method: "GET",
            path: "/info",
            guarded: false,
        }]
    }

    fn call(&self, _call: &Call<'_>) -> Plan {
        Plan::Report {
            connections: false,
            then: Box::new(reports::info),
        }
    }

    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        errors::fail(error)
    }
}
