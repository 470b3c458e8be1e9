//! The client protocols of Fanfare.
//!
//! Each protocol is a folder and one line in [`REGISTRY`]; nothing else names it. `echo` is the smallest, and the first to read.
//!
//! A dialect receives messages and outcomes, and returns steps. It must never use a socket, a clock, the broker, the policy or another
//! dialect.
//!
//! # A tour
//!
//! A client meets the files of a dialect in this order. A folder leaves out the files that it does not need:
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | `KIND`, the [`DialectKind`](fanfare_core::DialectKind): name, path, defaults; and the configured [`Dialect`](fanfare_core::Dialect) |
//! | `options.rs` | the options of this dialect |
//! | `handshake.rs` | [`Accept`](fanfare_core::Accept): the clients that may connect, and the form of a refusal |
//! | `conversation.rs` | [`Converse`](fanfare_core::Converse), and the [`Conversation`](fanfare_core::Conversation) of one connection |
//! | `frames.rs` | a client's messages, parsed |
//! | `errors.rs` | the errors of an open connection |
//! | `render.rs` | [`Render`](fanfare_core::Render): events, the server's own messages, closes |
//! | `http.rs` | [`Respond`](fanfare_core::Respond): routes, and fields on `/health` and `/metrics` |
//! | `listen.rs` | the plan by which `fanfare listen` and the benchmark receive events |
//! | `asyncapi.json` | the messages, described for `/asyncapi.json` |
//! | `transcripts/` | conversations, scene by scene; every scene is a test |
//!
//! # Examples
//!
//! A conversation without a server, which receives a message and returns a step:
//!
//! ```
//! use std::time::SystemTime;
//!
//! use fanfare_core::{Context, Message, Options, Step};
//!
//! let kind = fanfare_dialects::REGISTRY.find("echo").expect("it is registered");
//! let dialect = (kind.open)(&Options::default());
//! let mut conversation = dialect.converse(None);
//! let context = Context::new(SystemTime::now(), uuid::Uuid::nil(), None);
//! let mut steps = Vec::new();
//! conversation.received(Message::Text("hello"), &context, &mut steps);
//! assert_eq!(steps, [Step::text("hello")]);
//! ```

use fanfare_core::Registry;

mod api_error;
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

/// All dialects, in the order of reports; then the host and the guest of each path that two of them share.
pub static REGISTRY: Registry = Registry::new(
    &[
        &notify::KIND,
        &broadcast::KIND,
        &topics::KIND,
        &realtime::KIND,
        &rooms::KIND,
        &stream::KIND,
        &echo::KIND,
    ],
    &[("notify", "realtime")],
);
