//! `realtime`: clients subscribe to channels, publish on them, and send messages to each other. Without a token
//! a client is anonymous: it uses public channels, and neither sends nor receives direct messages.

mod conversation;
mod errors;
mod frames;
mod handshake;
mod http;
mod listen;
mod render;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fanfare_core::{
    Description, Dialect, DialectDefaults, DialectKind, ListenPlan, Listening, Options, OptionsType, Pattern,
    policy::PolicyOptions,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::describe;

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
        "Channels and direct messages: clients subscribe, broadcast, and send messages to each other."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::refusing::<http::Api, errors::ApiError<'_>>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults {
            binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
            options: OptionsType::of::<Realtime>(),
            production: &[("realtime.require_auth", "true")],
            ..DialectDefaults::default()
        }
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        Arc::new(options.get::<Realtime>())
    }

    /// If `public` is empty, the policy's default decides.
    fn shape_policy(&self, options: &Options, policy: &mut PolicyOptions) {
        let Realtime { public, .. } = options.get();
        if !public.is_empty() {
            policy.public = Some(public);
        }
    }

    fn policy_options(&self) -> &'static [&'static str] {
        &["public"]
    }
}

/// The configured dialect: its options.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Realtime {
    /// Whether a client must have a token. Without one it is anonymous.
    require_auth: bool,

    /// Roles that a client must have, all of them. If you set any, a token is required.
    required_roles: Vec<String>,

    /// The channels that anonymous clients may use; rooms and personal channels are never public. An empty list means
    /// all except `messages` and the channels under it.
    public: Vec<Pattern>,
}
