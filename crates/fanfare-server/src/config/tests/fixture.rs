//! Registries for tests.

use std::time::Duration;

use fanfare_core::{
    DialectKind, DurationText, Inherited, OptionsType, Pattern, Registry, Target, Unit, policy::RoomAccess,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A dialect that is configured and never opened.
const fn described(name: &'static str, doc: &'static str) -> DialectKind {
    DialectKind::new(name, "/ws", doc, |_| panic!("no test opens it"))
}

/// Returns the registry of these dialects. It stays for the rest of the test's process, as that of a build does.
fn registry(kinds: Vec<DialectKind>, sharing: &'static [(&'static str, &'static str)]) -> Registry {
    let kinds = kinds
        .into_iter()
        .map(|kind| -> &'static DialectKind { Box::leak(Box::new(kind)) });
    Registry::new(Box::leak(kinds.collect()), sharing)
}

/// The released dialects: one, and a hidden one for tests.
fn released_kinds() -> Vec<DialectKind> {
    let doc = "The notify dialect: a push stream for each user, with nothing for clients to say.";
    vec![
        DialectKind {
            binds: &["0.0.0.0:8081"],
            max_message_size: 512,
            ..described("notify", doc)
        },
        DialectKind {
            path: "/",
            ..described("echo", "Echoes.")
        },
    ]
}

/// The released registry.
pub(crate) fn released() -> Registry {
    registry(released_kinds(), &[])
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
pub(crate) fn large() -> Registry {
    large_with("/ws", &[("notify", "chat")])
}

/// The same, with this path of `chat` and these dialects that share one.
pub(crate) fn large_with(path: &'static str, sharing: &'static [(&'static str, &'static str)]) -> Registry {
    const CHAT: &[Inherited] = &[
        Inherited::new("BEAT", Target::Key("chat.ping_interval"), Unit::Seconds),
        Inherited::new("BEAT_MS", Target::Key("chat.ping_timeout"), Unit::Milliseconds),
        Inherited::new("CHAT_PORT", Target::Port, Unit::Plain),
    ];
    const FEED: &[Inherited] = &[
        Inherited::new("FEED_BEAT", Target::Key("feed.ping_interval"), Unit::Seconds),
        Inherited::new("FEED_ENABLED", Target::Enabled, Unit::Plain),
        Inherited::new("FEED_PORT", Target::Port, Unit::Plain),
        Inherited::new("FEED_OTHER_PORT", Target::Port, Unit::Plain),
        Inherited::new("FEED_HOST", Target::Host, Unit::Plain),
    ];
    let mut kinds = released_kinds();
    kinds.push(DialectKind {
        path,
        binds: &["0.0.0.0:8081", "0.0.0.0:8082"],
        max_connections: 1000,
        options: OptionsType::of::<Chat>(),
        inherited: CHAT,
        production: &[("chat.access", "\"nobody\"")],
        ..described("chat", "The chat dialect.")
    });
    kinds.push(DialectKind {
        binds: &["0.0.0.0:3000"],
        inherited: FEED,
        ..described("feed", "The feed dialect.")
    });
    registry(kinds, sharing)
}
