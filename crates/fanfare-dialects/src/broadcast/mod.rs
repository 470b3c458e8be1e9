//! `broadcast`: every client receives what is posted to `/notify`, and a test notification every few seconds.
//! It may ask for the server's figures.
//!
//! `frames` parses a client's messages. Over HTTP, `notify` is `POST /notify`, `forms` has the types of all bodies and
//! `errors` that of a failed request. `fields` writes JSON objects in a given order.

mod conversation;
mod errors;
mod fields;
mod forms;
mod frames;
mod handshake;
mod http;
mod listen;
mod notify;
mod render;

use std::{sync::Arc, time::Duration};

use fanfare_core::{
    Description, Dialect, DialectDefaults, DialectKind, ListenPlan, Listening, OptionKind, OptionSpec,
    Options,
};

use crate::describe;

/// The option for the interval of test notifications.
const NOTIFICATION_INTERVAL: &str = "notification_interval";

/// The dialect, before it is configured.
pub(crate) struct Kind;

impl DialectKind for Kind {
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
            openapi: describe::refusing::<forms::Api, errors::BroadcastError<'_>>(),
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
        Arc::new(Broadcast {
            interval: options.duration(NOTIFICATION_INTERVAL),
        })
    }
}

/// The configured dialect.
struct Broadcast {
    /// The interval of test notifications; zero turns them off.
    interval: Duration,
}

impl Broadcast {
    /// Returns the interval that clients see, in whole seconds. Only zero is shown as 0.
    fn interval_seconds(&self) -> u64 {
        self.interval.as_secs() + u64::from(self.interval.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::{Hearing, Hears};
    use serde_json::Value;

    use super::*;

    #[test]
    fn test_notifications_come_as_configured() {
        let specs = Kind.defaults().options;
        for (given, expected) in [
            (None, Some(Duration::from_secs(10))),
            (Some("1500ms"), Some(Duration::from_millis(1500))),
            (Some("0s"), None),
        ] {
            let options = Options::read(specs, |_| given.map(Value::from)).expect("a duration");
            assert_eq!(Kind.open(&options).tick_interval(), expected, "{given:?}");
        }
    }

    #[test]
    fn nothing_need_be_subscribed_to() {
        let dialect = Kind.open(&Options::defaults(Kind.defaults().options));
        let Hearing { user, everyone } = dialect.hears();
        assert_eq!((user, everyone), (Hears::Always, Hears::Always));
    }

    #[test]
    fn routes_are_for_services_only() {
        let dialect = Kind.open(&Options::defaults(Kind.defaults().options));
        let routes = dialect.endpoints().iter();
        let routes: Vec<_> = routes
            .map(|route| (route.method, route.path, route.guarded))
            .collect();
        assert_eq!(routes, [("POST", "/notify", true), ("GET", "/status", true)]);
    }
}
