//! `rooms`: chat and updates in rooms with access control. A client authenticates with a token in the query,
//! joins rooms, publishes in them, and receives their events and who joins and leaves.
//!
//! `frames` parses a client's messages, `conversation` is one connection's state, `render` renders the server's
//! messages and `errors` the errors; `settings` has the options. This file has the handshake, refusals and
//! closes.

mod conversation;
mod errors;
mod frames;
mod listen;
mod render;
mod settings;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fanfare_core::{
    About, Announcement, BrokerHealth, Conversation, Description, Dialect, DialectDefaults, DialectFacts,
    DialectKind, Ending, Event, Handshake, Hearing, Hears, Identity, JsonMap, ListenPlan, Listening, Member,
    NodeFacts, Offer, Options, Presence, Refusal, Rejection,
    policy::{PolicyOptions, RoomAccess},
};

/// The close code for a missing, bad or expired token.
const UNAUTHENTICATED: u16 = 4401;
/// The close code for a room without access. The protocol fixes the reason.
const FORBIDDEN: (u16, &str) = (4403, "Forbidden");
/// The close code for a maximum of connections.
const TOO_MANY: u16 = 4429;
/// The close code for an internal error.
const INTERNAL: u16 = 4500;

/// The dialect, before it is configured.
pub(crate) struct Kind;

/// The dialect.
struct Rooms {
    default_access: RoomAccess,
    leave_grace: Duration,
}

impl DialectKind for Kind {
    fn name(&self) -> &'static str {
        "rooms"
    }

    fn path(&self) -> &'static str {
        "/api/v1/ws/connect"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        listen::plan(self.path(), wanted)
    }

    fn summary(&self) -> &'static str {
        "Rooms with access control: clients join, talk, and hear who comes and goes."
    }

    fn describe(&self) -> Description {
        Description {
            asyncapi: include_str!("asyncapi.json"),
            ..Description::default()
        }
    }

    fn defaults(&self) -> DialectDefaults {
        settings::defaults()
    }

    fn policy_options(&self) -> &'static [&'static str] {
        &["default_access"]
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        let default_access = match options.text("default_access") {
            "nobody" => RoomAccess::Nobody,
            _ => RoomAccess::Authenticated,
        };
        Arc::new(Rooms {
            default_access,
            leave_grace: options.duration("leave_grace"),
        })
    }
}

impl Dialect for Rooms {
    /// The token in the query takes precedence over a header, because a browser may add a header of another
    /// scheme.
    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        match handshake.credential("token")? {
            Some(token) if !token.is_empty() => Ok(Offer::of_token(token)),
            _ => handshake
                .bearer()?
                .map(Offer::of_token)
                .ok_or(Refusal::MissingCredential),
        }
    }

    fn shape_policy(&self, policy: &mut PolicyOptions) {
        policy.rooms = self.default_access;
    }

    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        identity.map(|_| ()).ok_or(Refusal::MissingCredential)
    }

    /// Refuses by a close where the client is the cause: a browser shows a page the close code, and never an
    /// HTTP response to the upgrade.
    fn refuse(&self, refusal: Refusal, _about: &About<'_>) -> Rejection {
        match refusal {
            Refusal::MissingCredential | Refusal::BadCredential | Refusal::ExpiredCredential => {
                Rejection::close(UNAUTHENTICATED, "Authentication Failed")
            }
            Refusal::KeysUnavailable => Rejection::close(1013, "Try Again Later"),
            Refusal::Forbidden => Rejection::close(FORBIDDEN.0, FORBIDDEN.1),
            Refusal::AtCapacity
            | Refusal::AddressAtCapacity
            | Refusal::UserAtCapacity
            | Refusal::RateLimited => Rejection::close(TOO_MANY, "Too Many Connections"),
            Refusal::ShuttingDown => Rejection::http(503, r#"{"error":"Server shutting down"}"#),
            // Connections have no names here, so these two do not occur.
            Refusal::BadName => Rejection::http(400, r#"{"error":"bad name"}"#),
            Refusal::NameTaken => Rejection::http(409, r#"{"error":"name taken"}"#),
        }
    }

    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<conversation::Member>::default()
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Always,
            everyone: Hears::Always,
        }
    }

    fn render(&self, event: &Event) -> Option<Bytes> {
        Some(render::event(event))
    }

    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let kind = match change {
            Presence::Joined => "user_joined",
            Presence::Left => "user_left",
        };
        render::member_data(member).map(|data| Announcement { kind, data })
    }

    fn leave_grace(&self) -> Duration {
        self.leave_grace
    }

    /// `message` is not reserved: clients of every dialect publish it.
    fn own_types(&self) -> &'static [&'static str] {
        &[
            "connected",
            "joined_room",
            "left_room",
            "user_joined",
            "user_left",
            "notification.new",
            "error",
            "pong",
        ]
    }

    fn end(&self, ending: Ending) -> (u16, &'static str) {
        match ending {
            Ending::TokenExpired => (UNAUTHENTICATED, "token expired"),
            Ending::SlowConsumer => (1008, "slow consumer"),
            Ending::PingTimeout => (1008, "ping timeout"),
            Ending::RateLimited => (1008, "rate limit exceeded"),
            Ending::SessionTerminated => (1008, "session terminated"),
            Ending::Dismissed => (1008, "closed by an administrator"),
            Ending::ShuttingDown => (1001, "Server shutting down"),
            Ending::InternalError => (INTERNAL, "Internal Server Error"),
        }
    }

    fn health(&self, _broker: &BrokerHealth, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }

    fn metrics(&self, _node: &NodeFacts, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_core::{RawObject, Target, Unit, UserId, string};

    use super::*;

    #[test]
    fn what_the_server_says_itself_is_reserved() {
        let now = SystemTime::UNIX_EPOCH;
        let alice = Identity::new(UserId::new("alice").expect("a name"), now);
        let own = Kind.open(&Options::defaults(settings::defaults().options));
        let own = own.own_types();
        for text in [
            render::connected(&alice, now),
            render::joined_room("task:1", None, now),
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
    fn where_clients_expect_it() {
        assert_eq!(Kind.path(), "/api/v1/ws/connect");
        let defaults = Kind.defaults();
        assert_eq!(defaults.binds, ["0.0.0.0:8000"]);
        assert_eq!(
            (defaults.max_connections, defaults.max_message_size),
            (10_000, 65_536)
        );
        assert_eq!(
            (defaults.max_connections_per_ip, defaults.max_connections_per_user),
            (0, 5)
        );
    }

    #[test]
    fn what_may_be_configured() {
        let defaults = Kind.defaults();
        let read = |given: Option<&str>| {
            let options = Options::read(defaults.options, |name| {
                given.filter(|_| name == "default_access").map(Into::into)
            })
            .ok()?;
            Some(options.text("default_access").to_owned())
        };
        for (given, expected) in [
            (None, Some("authenticated")),
            (Some("authenticated"), Some("authenticated")),
            (Some("nobody"), Some("nobody")),
            (Some("anyone"), None),
        ] {
            assert_eq!(read(given).as_deref(), expected, "{given:?}");
        }
        let variables = defaults.inherited.iter();
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
        assert_eq!(defaults.production, [("rooms.default_access", "\"nobody\"")]);
    }

    /// Most connections are idle most of the time.
    #[test]
    fn a_connection_takes_little_memory() {
        assert!(size_of::<conversation::Member>() <= 32);
    }
}
