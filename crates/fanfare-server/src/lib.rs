//! Fanfare's server: configuration, HTTP, the Redis-protocol door, tokens, and the command line.
//!
//! The binary `fanfare` calls [`cli::run`]. This library exists for the binary, its tests, its fuzz targets and its benchmarks.
//!
//! This crate does not find an event's receivers, interpret clients' messages, or connect nodes: the engine, the dialects and the
//! transports do. It contains no dialect's name.
//!
//! # A tour
//!
//! In the order in which an event meets them:
//!
//! 1. [`config`] reads the settings, and [`serve`] builds a server from them: the node, its broker, its listeners, its threads.
//! 2. [`http`] accepts connections, answers requests, and upgrades a client to its dialect. [`resp`] is the door for publishers
//!    that speak the Redis protocol.
//! 3. [`auth`] verifies tokens and API keys. `access` builds the access control.
//! 4. An event passes from a door to [`fanfare_engine::Node::publish`], and from there on the engine delivers it.
//! 5. [`messages`] publishes the messages that the database has stored, once, also after a crash.
//! 6. [`report`] makes a node's reports for operators, `otlp` sends spans to a collector, and [`telemetry`] is the log.
//!
//! Beside them: `acme` obtains certificates, [`upkeep`] counts reloads and certificate orders, and [`cli`] has one file per command.
//!
//! # Examples
//!
//! Load a configuration as `serve` does, and ask where a value comes from:
//!
//! ```
//! use fanfare_server::config::{Origin, Sources, load};
//!
//! let sources = Sources {
//!     overrides: vec![("limits.max_listed_members".to_owned(), "50".to_owned())],
//!     ..Sources::default()
//! };
//! let loaded = load(&sources, fanfare_dialects::REGISTRY).expect("the value is usable");
//! assert_eq!(loaded.config.limits.max_listed_members, 50);
//! assert!(loaded.is_configured("limits.max_listed_members"));
//!
//! let sources = Sources {
//!     overrides: vec![("limits.max_listed_member".to_owned(), "50".to_owned())],
//!     ..Sources::default()
//! };
//! assert!(load(&sources, fanfare_dialects::REGISTRY).is_err(), "a misspelt key is an error");
//! ```

mod access;
mod acme;
pub mod auth;
mod causes;
pub mod cli;
pub mod config;
pub mod http;
pub mod messages;
mod otlp;
mod outbound;
mod parsing;
mod private_file;
mod refusals;
pub mod report;
pub mod resp;
pub mod serve;
mod shared_lru;
pub mod telemetry;
pub mod upkeep;
mod web_origin;
