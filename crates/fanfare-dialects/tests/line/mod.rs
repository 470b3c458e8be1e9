//! `line`: a sixth dialect, only for tests. Its messages are lines of text. It uses features that the five others do not: a
//! path with a parameter, binary renderings, events that their sender does not receive, and tokens for one channel.
//!
//! A client connects to `/line/{app}` and sends `SUB a.b [TOKEN]`, `UNSUB a.b`, `PUB a.b TEXT`, `JOIN room:x`, `LEAVE room:x`. Each is
//! answered by `OK …` or `ERR …`; events come as binary messages, `CHANNEL NUL DATA`. Backends `POST /line/{app}/{channel}`.

mod conversation;
mod handshake;
mod http;
mod render;

use std::sync::Arc;

use fanfare_core::{DialectKind, OptionsType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The dialect, before it is configured.
pub(crate) static KIND: DialectKind = DialectKind {
    options: OptionsType::of::<Line>(),
    rooms: &["room:"],
    ..DialectKind::new("line", "/line/{app}", "Lines of words, for tests.", |options| {
        Arc::new(options.get::<Line>())
    })
};

/// The configured dialect: its options.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Line {
    /// The applications whose clients may connect.
    apps: Vec<String>,
}

impl Default for Line {
    fn default() -> Self {
        let apps = vec!["demo".to_owned()];
        Self { apps }
    }
}

impl Line {
    fn has_app(&self, name: Option<&str>) -> bool {
        self.apps.iter().any(|app| Some(&**app) == name)
    }
}
