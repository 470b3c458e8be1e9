//! `broadcast`: every client receives what is posted to `/notify`, and a test notification every few seconds.
//! It may ask for the server's figures.
//!
//! `door` has the handshake, refusals and closes. `conversation` is one connection's state; `frames` parses its
//! messages, `messages` renders the server's. Over HTTP, `notify` is `POST /notify`, `reports` has `/status`
//! and the fields of `/health` and `/metrics`, `failures` the errors, and `forms` the types of all bodies.
//! `fields` writes JSON objects in a given order.

mod conversation;
mod door;
mod failures;
mod fields;
mod forms;
mod frames;
mod listen;
mod messages;
mod notify;
mod reports;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    About, Audience, BrokerHealth, Call, Conversation, Description, Dialect, DialectDefaults, DialectFacts,
    DialectKind, Ending, Endpoint, Event, Figure, Handshake, Hearing, Hears, HttpError, HttpReply, JsonMap,
    ListenPlan, Listening, NodeFacts, Offer, OptionKind, OptionSpec, Options, Plan, Refusal, Rejection,
};
use uuid::Uuid;

use crate::describe;
use conversation::Client;

/// The option for the interval of test notifications.
const NOTIFICATION_INTERVAL: &str = "notification_interval";

/// The dialect, before it is configured.
pub(crate) struct Broadcast;

impl DialectKind for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn listen(&self, wanted: &Listening<'_>) -> Option<ListenPlan> {
        listen::plan(self.path(), wanted)
    }

    fn summary(&self) -> &'static str {
        "To everyone: clients hear what is posted to /notify."
    }

    fn describe(&self) -> Description {
        Description {
            openapi: describe::refusing::<forms::Api, failures::BroadcastError<'_>>(),
            asyncapi: include_str!("asyncapi.json"),
        }
    }

    fn defaults(&self) -> DialectDefaults {
        DialectDefaults {
            binds: &["0.0.0.0:8000"],
            max_connections: 1000,
            options: &[OptionSpec {
                name: NOTIFICATION_INTERVAL,
                doc: "How often each connection is sent a test notification. `0s` turns them off.",
                kind: OptionKind::Duration { min: Duration::ZERO },
                default: "\"10s\"",
            }],
            ..DialectDefaults::default()
        }
    }

    fn open(&self, options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Service {
            interval: options.duration(NOTIFICATION_INTERVAL),
        })
    }
}

/// The configured dialect.
struct Service {
    /// The interval of test notifications; zero turns them off.
    interval: Duration,
}

impl Service {
    /// Returns the interval that clients see, in whole seconds. Only zero is shown as 0.
    fn interval_seconds(&self) -> u64 {
        self.interval.as_secs() + u64::from(self.interval.subsec_nanos() > 0)
    }
}

impl Dialect for Service {
    fn offer<'a>(&self, handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        door::offer(handshake)
    }

    fn name_for(&self, connection: Uuid) -> Option<String> {
        Some(door::name_for(connection))
    }

    fn refuse(&self, refusal: Refusal, about: &About<'_>) -> Rejection {
        door::refuse(refusal, about)
    }

    fn converse(&self, name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client::new(name, self.interval_seconds()))
    }

    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Always,
            everyone: Hears::Always,
        }
    }

    fn render(&self, event: &Event) -> Option<Bytes> {
        match event.audience {
            Audience::User(_) | Audience::Everyone => Some(messages::notification(event)),
            Audience::Channel(_) => None,
        }
    }

    fn own_types(&self) -> &'static [&'static str] {
        messages::TYPES
    }

    fn ping(&self, now: SystemTime) -> Option<Bytes> {
        Some(messages::ping(now))
    }

    fn tick_interval(&self) -> Option<Duration> {
        (!self.interval.is_zero()).then_some(self.interval)
    }

    fn tick(&self, count: u64, id: Uuid, node: &NodeFacts, own: &DialectFacts) -> Option<Bytes> {
        Some(messages::test_notification(count, id, node, own))
    }

    fn drain_notice(&self, id: Uuid, now: SystemTime) -> Option<Bytes> {
        Some(messages::system(id, now))
    }

    fn last_words(&self, ending: Ending, now: SystemTime) -> Option<Bytes> {
        match ending {
            Ending::ShuttingDown => Some(messages::shutdown(now)),
            Ending::TokenExpired
            | Ending::SlowConsumer
            | Ending::PingTimeout
            | Ending::RateLimited
            | Ending::SessionTerminated
            | Ending::Dismissed
            | Ending::InternalError => None,
        }
    }

    fn end(&self, ending: Ending) -> (u16, &'static str) {
        door::end(ending)
    }

    fn health(&self, _broker: &BrokerHealth, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::health(node, own, self.interval_seconds())
    }

    fn metrics(&self, node: &NodeFacts, own: &DialectFacts) -> JsonMap {
        reports::metrics(node, own, self.interval_seconds())
    }

    fn figures(&self, node: &NodeFacts, own: &DialectFacts) -> Vec<Figure> {
        reports::figures(node, own)
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[
            Endpoint {
                method: "POST",
                path: notify::PATH,
                guarded: true,
            },
            Endpoint {
                method: "GET",
                path: reports::PATH,
                guarded: true,
            },
        ]
    }

    fn call(&self, call: &Call<'_>) -> Plan {
        let interval = self.interval_seconds();
        match call.path {
            notify::PATH => notify::plan(call),
            reports::PATH => Plan::Report {
                connections: true,
                then: Box::new(move |report| reports::status(report, interval)),
            },
            _ => Plan::Reply(self.fail(&HttpError {
                status: 404,
                message: "Not found",
                id: call.id,
                now: call.now,
            })),
        }
    }

    fn fail(&self, error: &HttpError<'_>) -> HttpReply {
        failures::reply(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn test_notifications_come_as_configured() {
        let specs = Broadcast.defaults().options;
        for (given, expected) in [
            (None, Some(Duration::from_secs(10))),
            (Some("1500ms"), Some(Duration::from_millis(1500))),
            (Some("0s"), None),
        ] {
            let options = Options::read(specs, |_| given.map(Value::from)).expect("a duration");
            assert_eq!(Broadcast.open(&options).tick_interval(), expected, "{given:?}");
        }
    }

    #[test]
    fn nothing_need_be_subscribed_to() {
        let dialect = Broadcast.open(&Options::defaults(Broadcast.defaults().options));
        let Hearing { user, everyone } = dialect.hears();
        assert_eq!((user, everyone), (Hears::Always, Hears::Always));
    }

    #[test]
    fn routes_are_for_services_only() {
        let dialect = Broadcast.open(&Options::defaults(Broadcast.defaults().options));
        let routes = dialect.endpoints().iter();
        let routes: Vec<_> = routes
            .map(|route| (route.method, route.path, route.guarded))
            .collect();
        assert_eq!(routes, [("POST", "/notify", true), ("GET", "/status", true)]);
    }
}
