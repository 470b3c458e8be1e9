//! The configuration's settings for the engine, and its access rules.

use std::sync::Arc;

use fanfare_core::{
    DialectKind,
    policy::{KnownNames, Policy, PolicyOptions, RoomAccess},
};
use fanfare_engine::{DialectSettings, Mounting};
use tokio::runtime::Handle;

use crate::{
    access::{self, Webhook},
    config::{Config, DialectConfig},
    messages::MESSAGES_CHANNEL,
};

/// Returns the engine's dialects: all registered ones, so that reports are the same on every listener.
pub(crate) fn dialects(config: &Config) -> Vec<Mounting> {
    let mount = |kind: &'static DialectKind| {
        let configured = configured(config, kind);
        Mounting {
            kind,
            dialect: (kind.open)(&configured.options),
            settings: settings(config, &configured),
        }
    };
    config.registry.iter().map(mount).collect()
}

/// Returns the settings of a dialect; its defaults if the configuration has none.
pub(super) fn configured(config: &Config, kind: &DialectKind) -> DialectConfig {
    let given = config.dialects.get(kind.name).cloned();
    given.unwrap_or_default()
}

pub(super) fn settings(whole: &Config, config: &DialectConfig) -> DialectSettings {
    let limits = &whole.limits;
    DialectSettings {
        max_connections: config.max_connections,
        max_connections_per_ip: config.max_connections_per_ip,
        max_connections_per_user: config.max_connections_per_user,
        max_subscriptions: config.max_subscriptions,
        max_messages_per_second: limits.messages_per_second_per_connection,
        message_burst: limits.burst.max(limits.messages_per_second_per_connection),
        max_message_size: config.max_message_size,
        max_fragments: config.max_fragments,
        send_queue: config.send_queue,
        send_queue_size: config.send_queue_size,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        compression: config.compression,
        compression_threshold: config.compression_threshold,
    }
}

/// Returns the rules of the configuration, over defaults that the dialects' options shape.
pub(crate) fn policy(config: &Config) -> Policy {
    access::policy(config, defaults(config))
}

/// Returns the users who may use a room if no rule decides.
pub(super) fn rooms(config: &Config) -> RoomAccess {
    defaults(config).rooms
}

fn defaults(config: &Config) -> PolicyOptions {
    let kinds = config.registry.iter();
    let mut options = PolicyOptions {
        names: KnownNames {
            rooms: kinds.flat_map(|kind| kind.rooms).copied().collect(),
            feed: Some(MESSAGES_CHANNEL),
        },
        ..PolicyOptions::default()
    };
    for kind in config.registry.iter() {
        (kind.shape_policy)(&configured(config, kind).options, &mut options);
    }
    options
}

pub(super) fn authorizer(config: &Config) -> Result<Option<Arc<Webhook>>, String> {
    Ok(Webhook::new(&config.authorizer, Handle::current())?.map(Arc::new))
}
