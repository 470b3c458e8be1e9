//! A registry for tests.

use std::time::Duration;

use fanfare_core::{DurationText, Inherited, OptionsType, Pattern, Target, Unit, policy::RoomAccess};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dialect::{DialectConfig, DialectInfo};

fn info(name: &'static str, doc: &'static str) -> DialectInfo {
    DialectInfo {
        name,
        doc,
        defaults: DialectConfig::default(),
        binds: &[],
        path: "/ws",
        shares_path_with: Vec::new(),
        options: OptionsType::default(),
        inherited: &[],
        production: &[],
        hidden: false,
    }
}

const fn variable(variable: &'static str, target: Target, unit: Unit) -> Inherited {
    Inherited {
        variable,
        target,
        unit,
    }
}

/// The released registry: one dialect, and a hidden one for tests.
pub(crate) fn released() -> Vec<DialectInfo> {
    vec![
        DialectInfo {
            defaults: DialectConfig {
                max_message_size: 512,
                ..DialectConfig::default()
            },
            binds: &["0.0.0.0:8081"],
            ..info(
                "notify",
                "The notify dialect: a push stream for each user, with nothing for clients to say.",
            )
        },
        DialectInfo {
            binds: &["127.0.0.1:9001"],
            hidden: true,
            path: "/",
            ..info("echo", "Echoes.")
        },
    ]
}

/// Options of every form.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Chat {
    /// How often. `0s` is never.
    #[serde(with = "DurationText::<0>")]
    pub(crate) interval: Duration,
    /// Whether.
    pub(crate) strict: bool,
    /// Who.
    pub(crate) roles: Vec<String>,
    /// How many.
    #[schemars(range(min = 1, max = 9))]
    pub(crate) burst: u8,
    /// Which.
    pub(crate) access: RoomAccess,
    /// What.
    pub(crate) greeting: String,
    /// Where.
    pub(crate) shown: Vec<Pattern>,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            strict: false,
            roles: Vec::new(),
            burst: 3,
            access: RoomAccess::default(),
            greeting: String::new(),
            shown: Pattern::new("**").into_iter().collect(),
        }
    }
}

/// A larger registry, with every kind of declaration.
pub(crate) fn large() -> Vec<DialectInfo> {
    const CHAT: &[Inherited] = &[
        variable("BEAT", Target::Key("chat.ping_interval"), Unit::Seconds),
        variable("BEAT_MS", Target::Key("chat.ping_timeout"), Unit::Milliseconds),
        variable("CHAT_PORT", Target::Port, Unit::Plain),
    ];
    const FEED: &[Inherited] = &[
        variable("FEED_BEAT", Target::Key("feed.ping_interval"), Unit::Seconds),
        variable("FEED_ENABLED", Target::Enabled, Unit::Plain),
        variable("FEED_PORT", Target::Port, Unit::Plain),
        variable("FEED_OTHER_PORT", Target::Port, Unit::Plain),
        variable("FEED_HOST", Target::Host, Unit::Plain),
    ];
    let mut dialects = released();
    dialects.push(DialectInfo {
        defaults: DialectConfig {
            max_connections: 1000,
            ..DialectConfig::default()
        },
        binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
        shares_path_with: vec!["notify"],
        options: OptionsType::of::<Chat>(),
        inherited: CHAT,
        production: &[("chat.access", "\"nobody\"")],
        ..info("chat", "The chat dialect.")
    });
    dialects.push(DialectInfo {
        binds: &["0.0.0.0:3000"],
        inherited: FEED,
        ..info("feed", "The feed dialect.")
    });
    dialects
}
