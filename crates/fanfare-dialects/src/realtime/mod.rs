//! `realtime`: clients subscribe to channels, publish on them, and send messages to each other. Without a token
//! a client is anonymous: it uses public channels, and neither sends nor receives direct messages.

mod conversation;
mod frames;
mod handshake;
mod http;
mod listen;
mod render;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fanfare_core::{DialectKind, Options, OptionsType, Pattern, policy::PolicyOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{api_error::ApiError, describe};

const PATH: &str = "/ws";

pub(crate) static KIND: DialectKind = DialectKind {
    binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
    options: OptionsType::of::<Realtime>(),
    production: &[("realtime.require_auth", "true")],
    shape_policy,
    policy_options: &["public"],
    openapi: describe::refusing::<http::Api, ApiError<'_>>,
    asyncapi: include_str!("asyncapi.json"),
    listen: listen::plan,
    ..DialectKind::new(
        "realtime",
        PATH,
        "Channels and direct messages: clients subscribe, broadcast, and send messages to each other.",
        |options| Arc::new(options.get::<Realtime>()),
    )
};

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

/// If `public` is empty, the policy's default decides.
fn shape_policy(options: &Options, policy: &mut PolicyOptions) {
    let Realtime { public, .. } = options.get();
    if !public.is_empty() {
        policy.public = Some(public);
    }
}
