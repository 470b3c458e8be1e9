//! `rooms`: chat and updates in rooms with access control. A client authenticates with a token in the query, joins
//! rooms and publishes in them. It receives a room's events, and which users join and leave.

mod conversation;
mod errors;
mod frames;
mod handshake;
mod listen;
mod options;
mod render;

use std::sync::Arc;

use fanfare_core::{DialectKind, OptionsType, Respond};

use options::Rooms;

/// The close code for a missing, invalid or expired token.
const UNAUTHENTICATED: u16 = 4401;
/// The close code for a room without access. The protocol fixes the reason.
const FORBIDDEN: (u16, &str) = (4403, "Forbidden");
const PATH: &str = "/api/v1/ws/connect";

pub(crate) static KIND: DialectKind = DialectKind {
    binds: &["0.0.0.0:8000"],
    max_connections_per_user: 5,
    options: OptionsType::of::<Rooms>(),
    inherited: options::INHERITED,
    production: &[("rooms.default_access", "\"nobody\"")],
    shape_policy: |options, policy| policy.rooms = options.get::<Rooms>().default_access,
    policy_options: &["default_access"],
    rooms: frames::ROOMS,
    asyncapi: include_str!("asyncapi.json"),
    listen: listen::plan,
    ..DialectKind::new(
        "rooms",
        PATH,
        "Rooms with access control: clients join, send messages, and learn who joins and leaves.",
        |options| Arc::new(options.get::<Rooms>()),
    )
};

impl Respond for Rooms {}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_core::{Identity, Options, RawObject, Target, Unit, UserId, policy::RoomAccess, string};

    use super::*;

    #[test]
    fn the_types_of_the_servers_messages_are_reserved() {
        let now = SystemTime::UNIX_EPOCH;
        let context = fanfare_core::Context::new(now, uuid::Uuid::nil(), None);
        let alice = Identity::new(UserId::new("alice").expect("a name"), now);
        let own = (KIND.open)(&Options::default());
        let own = own.own_types();
        for text in [
            render::connected(&alice, &context),
            render::joined_room("task:1", None, &context),
            render::left_room("task:1", now),
            render::pong(now),
            render::error("words", now),
        ] {
            let text = std::str::from_utf8(&text).expect("text");
            let kind = RawObject::parse(text).expect("JSON").get("type").and_then(string);
            assert!(kind.is_some_and(|kind| own.contains(&&*kind)), "{text}");
        }
        for (kind, expected) in [
            ("user_joined", true),
            ("user_left", true),
            ("notification.new", true),
            ("message", false),
            ("task.created", false),
        ] {
            assert_eq!(own.contains(&kind), expected, "{kind}");
        }
    }

    #[test]
    fn the_path_port_and_limits_are_those_of_the_protocol() {
        assert_eq!(KIND.path, "/api/v1/ws/connect");
        assert_eq!(KIND.binds, ["0.0.0.0:8000"]);
        assert_eq!((KIND.max_connections, KIND.max_message_size), (10_000, 65_536));
        assert_eq!(
            (KIND.max_connections_per_ip, KIND.max_connections_per_user),
            (0, 5)
        );
    }

    #[test]
    fn options_and_inherited_variables_are_read() {
        for (given, expected) in [
            ("{}", Some(RoomAccess::Authenticated)),
            (
                r#"{"default_access":"authenticated"}"#,
                Some(RoomAccess::Authenticated),
            ),
            (r#"{"default_access":"nobody"}"#, Some(RoomAccess::Nobody)),
            (r#"{"default_access":"anyone"}"#, None),
        ] {
            let given = serde_json::from_str(given).expect("JSON");
            let read = KIND.options.read(given).ok();
            assert_eq!(
                read.map(|options| options.get::<Rooms>().default_access),
                expected
            );
        }
        let variables = KIND.inherited.iter();
        let variables: Vec<_> = variables
            .map(|one| (one.variable, one.target, one.unit))
            .collect();
        let key = Target::Key;
        let expected = [
            (
                "MAX_CONNECTIONS_PER_USER",
                key("rooms.max_connections_per_user"),
                Unit::Plain,
            ),
            ("WS_HEARTBEAT_INTERVAL", key("rooms.ping_interval"), Unit::Seconds),
        ];
        assert_eq!(variables, expected);
        assert_eq!(KIND.production, [("rooms.default_access", "\"nobody\"")]);
    }

    /// Most connections are idle most of the time, so their size determines their cost.
    #[test]
    fn an_idle_connection_takes_at_most_32_bytes() {
        assert!(size_of::<conversation::Client>() <= 32);
    }
}
