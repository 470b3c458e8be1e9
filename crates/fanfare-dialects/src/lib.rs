//! The client protocols that Fanfare speaks.
//!
//! Each protocol is a folder and one line in [`REGISTRY`]; nothing else names it. `echo` is the smallest, and the first
//! to read. Every folder has the same files, without those that it does not need:
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the `DialectKind`: name, path, defaults, and how it is configured |
//! | `handshake.rs` | `Accept`: which clients may connect, and the form of a refusal |
//! | `conversation.rs` | `Converse`, and the `Conversation` of one connection |
//! | `frames.rs` | a client's messages, parsed |
//! | `render.rs` | `Render`: events, the server's own messages, closes |
//! | `http.rs` | `Respond`: routes, and fields on `/health` and `/metrics` |
//! | `errors.rs`, `options.rs`, `listen.rs` | errors, options, and how `fanfare listen` receives |
//! | `asyncapi.json`, `transcripts/` | the messages described, and shown scene by scene; every scene is a test |
//! A dialect must never know a socket, a clock, the broker, the policy or another dialect: it receives messages and
//! outcomes, and returns steps.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use fanfare_core::{Context, Message, Options, Step};
//!
//! let kind = fanfare_dialects::REGISTRY.find("echo").expect("it is registered");
//! let dialect = kind.open(&Options::default());
//! let mut conversation = dialect.converse(None);
//! let context = Context::new(SystemTime::now(), uuid::Uuid::nil(), None);
//! let mut steps = Vec::new();
//! conversation.received(Message::Text("hello"), &context, &mut steps);
//! assert_eq!(steps, [Step::SendText("hello".into())]);
//! ```

use fanfare_core::Registry;

mod broadcast;
mod describe;
mod echo;
mod listen;
mod notify;
mod realtime;
mod rooms;
mod stream;
mod text;
mod topics;

/// Every dialect, in the order of reports; then the host and the guest of each path that two of them share.
pub static REGISTRY: Registry = Registry::new(
    &[
        &notify::Kind,
        &broadcast::Kind,
        &topics::Kind,
        &realtime::Kind,
        &rooms::Kind,
        &stream::Kind,
        &echo::Kind,
    ],
    &[("notify", "realtime")],
);
