//! The options of this dialect. The policy decides about access to rooms; these are its defaults.

use std::time::Duration;

use fanfare_core::{DurationText, Inherited, Target, Unit, policy::RoomAccess};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configured dialect: its options.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rooms {
    /// The users who may join a room if no access rule, authorizer or `rooms` claim decides: any `authenticated` user,
    /// or `nobody`.
    pub(super) default_access: RoomAccess,

    /// The delay of `user_left` after a lost connection (no `leave_room` and no close frame). If the user
    /// is back in the room by then, it sends neither `user_left` nor `user_joined`.
    #[serde(with = "DurationText::<0>")]
    pub(super) leave_grace: Duration,
}

pub(super) const INHERITED: &[Inherited] = &[
    Inherited::key("MAX_CONNECTIONS_PER_USER", "rooms.max_connections_per_user"),
    Inherited::new(
        "WS_HEARTBEAT_INTERVAL",
        Target::Key("rooms.ping_interval"),
        Unit::Seconds,
    ),
];
