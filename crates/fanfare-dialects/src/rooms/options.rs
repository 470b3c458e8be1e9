//! The options of this dialect. The policy of all dialects decides who may join which room; here are only its defaults.

use std::time::Duration;

use fanfare_core::{DialectDefaults, DurationText, Inherited, OptionsType, Target, Unit, policy::RoomAccess};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configured dialect: its options.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rooms {
    /// Who may join a room that no access rule, authorizer or `rooms` claim decides about: any `authenticated` user, or
    /// `nobody`.
    pub(super) default_access: RoomAccess,

    /// How long the server waits with `user_left` after it lost a connection (no `leave_room` and no close frame). A
    /// user who is back in the room by then has neither left nor joined.
    #[serde(with = "DurationText::<0>")]
    pub(super) leave_grace: Duration,
}

/// Returns the defaults that differ from the usual ones.
pub(super) fn defaults() -> DialectDefaults {
    DialectDefaults {
        binds: &["0.0.0.0:8000"],
        max_connections: 10_000,
        max_connections_per_user: 5,
        max_message_size: 64 * 1024,
        options: OptionsType::of::<Rooms>(),
        inherited: INHERITED,
        production: &[("rooms.default_access", "\"nobody\"")],
        ..DialectDefaults::default()
    }
}

const INHERITED: &[Inherited] = &[
    Inherited::key("MAX_CONNECTIONS_PER_USER", "rooms.max_connections_per_user"),
    Inherited::new(
        "WS_HEARTBEAT_INTERVAL",
        Target::Key("rooms.ping_interval"),
        Unit::Seconds,
    ),
];
