//! `broadcast`: every client receives the events posted to `/notify`, and a test notification every few seconds.
//!
//! Over HTTP, `notify` is `POST /notify` and `forms` has the types of all bodies. `fields` writes JSON objects.

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

use fanfare_core::{DialectKind, DurationText, OptionsType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use crate::describe;

const PATH: &str = "/ws";

pub(crate) static KIND: DialectKind = DialectKind {
    binds: &["0.0.0.0:8000"],
    max_connections: 1000,
    options: OptionsType::of::<Broadcast>(),
    openapi: describe::refusing::<http::Api, errors::BroadcastError<'_>>,
    asyncapi: include_str!("asyncapi.json"),
    listen: listen::plan,
    ..DialectKind::new(
        "broadcast",
        PATH,
        "Announcements: every client receives what is posted to /notify.",
        |options| Arc::new(options.get::<Broadcast>()),
    )
};

/// The configured dialect: its options.
#[derive(Deserialize, Serialize, JsonSchema, SmartDefault)]
#[serde(default, deny_unknown_fields)]
struct Broadcast {
    /// The time between two test notifications to each connection. `0s` turns them off.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(10))]
    notification_interval: Duration,
}

impl Broadcast {
    /// Returns the interval that clients see, in whole seconds. Only zero is shown as 0.
    fn interval_seconds(&self) -> u64 {
        let interval = self.notification_interval;
        interval.as_secs() + u64::from(interval.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::{Options, Receives, Reception};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_interval_of_test_notifications_is_configurable() {
        for (given, expected) in [
            (json!({}), Some(Duration::from_secs(10))),
            (
                json!({ "notification_interval": "1500ms" }),
                Some(Duration::from_millis(1500)),
            ),
            (json!({ "notification_interval": "0s" }), None),
        ] {
            let options = KIND.options.read(given).expect("a duration");
            assert_eq!((KIND.open)(&options).tick_interval(), expected, "{options:?}");
        }
    }

    #[test]
    fn a_connection_receives_all_events_without_a_subscription() {
        let dialect = (KIND.open)(&Options::default());
        let Reception { user, everyone } = dialect.receives();
        assert_eq!((user, everyone), (Receives::Always, Receives::Always));
    }

    #[test]
    fn both_routes_require_a_credential() {
        let dialect = (KIND.open)(&Options::default());
        let routes = dialect.endpoints().iter();
        let routes: Vec<_> = routes
            .map(|route| (route.method, route.path, route.guarded))
            .collect();
        assert_eq!(routes, [("POST", "/notify", true), ("GET", "/status", true)]);
    }
}
