//! From the registry of dialects to the configuration, and from the configuration to the engine.

use std::sync::LazyLock;

use fanfare_core::Dialect;

use crate::{
    config::{Config, DialectConfig, DialectInfo},
    engine::DialectSettings,
};

/// What the configuration must know of each registered dialect.
pub fn dialect_infos() -> Vec<DialectInfo> {
    fanfare_dialects::ALL
        .iter()
        .map(|dialect| info(*dialect))
        .collect()
}

fn info(dialect: &'static dyn Dialect) -> DialectInfo {
    let defaults = dialect.defaults();
    DialectInfo {
        name: dialect.name(),
        doc: dialect.summary(),
        defaults: DialectConfig {
            max_connections: defaults.max_connections,
            max_connections_per_ip: defaults.max_connections_per_ip,
            max_connections_per_user: defaults.max_connections_per_user,
            max_message_size: defaults.max_message_size,
            ..DialectConfig::default()
        },
        binds: defaults.binds,
        path: dialect.path(),
        shares_path_with: Vec::new(),
        options: defaults.options,
        inherited: defaults.inherited,
        production: defaults.production,
        hidden: defaults.binds.is_empty(),
    }
}

/// The engine's dialects: all that are registered, so that reports are the same on every listener.
pub(super) fn dialects(config: &Config) -> Vec<(&'static dyn Dialect, DialectSettings)> {
    static COMMON: LazyLock<DialectConfig> = LazyLock::new(DialectConfig::default);
    let of = |dialect: &&'static dyn Dialect| {
        (
            *dialect,
            settings(config.dialects.get(dialect.name()).unwrap_or(&COMMON)),
        )
    };
    fanfare_dialects::ALL.iter().map(of).collect()
}

fn settings(config: &DialectConfig) -> DialectSettings {
    DialectSettings {
        max_connections: config.max_connections,
        max_connections_per_ip: config.max_connections_per_ip,
        max_connections_per_user: config.max_connections_per_user,
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
