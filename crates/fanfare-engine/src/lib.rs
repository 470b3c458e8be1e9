//! Fanfare's engine: connections, shards, fan-out.
//!
//! All threads share a [`Node`]. Each [`Shard`] is one thread that owns its connections: it accepts, reads, delivers and writes
//! for them, and no message takes a lock. Publications enter by [`Node::publish`], pass the broker, and return by
//! [`fanfare_core::Inbound`] as batches. `batch` splits them by shard, `deliver` writes to the sockets of the receivers, and an
//! `outbox` keeps only the frames that a socket does not take.
//!
//! A connection (`connection`) is a state machine: it takes bytes, answers and the time, and returns frames and commands. Its
//! `driver` owns the socket; `commands` runs the commands of its conversation. ARCHITECTURE.md has the layers.
//!
//! This crate contains no HTTP, no configuration file, no export of figures, no verification of credentials, no dialect and no
//! transport between nodes. It gets them as values ([`NodeOptions`], [`DialectSettings`]) and ports ([`Authenticator`],
//! [`fanfare_core::Dialect`], [`fanfare_core::Broker`], [`fanfare_core::policy::Authorizer`]).
//!
//! # Examples
//!
//! A node publishes by its broker, and the receipt shows how many connections received the event:
//!
//! ```
//! use std::{sync::Arc, time::SystemTime};
//!
//! use fanfare_cluster::embedded::EmbeddedBroker;
//! use fanfare_core::{
//!     Audience, BoxFuture, Channel, Denial, Event, Identity, PublishOptions, RawJson,
//!     policy::{AccessControl, Policy},
//! };
//! use fanfare_engine::{
//!     Authenticator, Clock, Conflict, MAX_FAN_OUT_RECEIVERS, Node, NodeOptions, ObserveLimits, ShardHandle,
//! };
//!
//! /// Refuses every token.
//! struct Closed;
//!
//! impl Authenticator for Closed {
//!     fn identify<'a>(&'a self, _: &'static str, _: &'a str) -> BoxFuture<'a, Result<Arc<Identity>, Denial>> {
//!         Box::pin(async { Err(Denial::BadCredential) })
//!     }
//!
//!     fn is_revoked(&self, _: &Identity) -> bool {
//!         true
//!     }
//!
//!     fn revoke_session(&self, _: &str) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::new(NodeOptions {
//!     dialects: Vec::new(), // the server mounts one for each protocol
//!     authenticator: Arc::new(Closed),
//!     access: AccessControl::new(Policy::default(), None),
//!     clock: Clock::system(),
//!     observe: ObserveLimits::default(),
//!     max_fan_out_receivers: MAX_FAN_OUT_RECEIVERS,
//! });
//! // A thread runs `Shard::run` with these commands.
//! let (shard, commands) = ShardHandle::channel();
//! node.attach(vec![shard], Arc::new(EmbeddedBroker::new(node.clone(), 1000, 1000)));
//!
//! let audience = Audience::Channel(Channel::new("news")?);
//! let event = Event::new(audience, Some("headline"), RawJson::parse(&"\"Rain\"".into())?, SystemTime::now());
//! let receipts = node.publish(vec![event], PublishOptions { receipt: true }, Conflict::Wait).await?;
//! assert_eq!((receipts[0].reach.queued, receipts[0].nodes), (0, 1)); // there are no connections yet
//! # drop(commands);
//! # Ok(())
//! # }
//! ```

mod acknowledged;
mod admission;
mod batch;
mod broadcast;
mod clock;
mod codec;
mod command;
mod commands;
mod connection;
mod connection_guard;
mod connections;
mod counters;
mod deliver;
mod directory;
mod drain;
mod driver;
mod entries;
mod entry_trace;
mod fan_out;
mod framing;
mod grace;
mod in_force;
mod inbound;
mod interest_guard;
mod late;
mod listing;
mod missed;
mod mounted;
mod node;
mod observe;
mod once;
mod pace;
mod perform;
mod ports;
mod publisher;
mod questions;
mod receivers;
mod replay;
mod row;
mod run;
mod serve;
mod settings;
mod shard;
mod slots;
mod spans;
mod sweep;
mod tail;
mod ticks;
mod trace;
mod transport;
mod turn;
mod undecided;
mod work;
mod write;

#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use clock::Clock;
pub use command::{ShardCommands, ShardHandle};
pub use connection::NewConnection;
pub use connection_guard::ConnectionGuard;
pub use counters::{Counters, DialectCounters};
pub use fan_out::MAX_FAN_OUT_RECEIVERS;
pub use framing::Framing;
pub use mounted::{MountedDialect, Mounting};
pub use node::{Node, NodeOptions, SubscriptionCounts};
pub use observe::{
    ConnectionTrace, DeliveryTrace, EntryTrace, EventTrace, Fate, ObserveFigures, ObserveLimits, Subject,
    TailedEvent, TraceOrder, TraceRule, TraceSummary, TracedEvent,
};
pub use once::{Conflict, InProgress};
pub use pace::Pace;
pub use ports::{Authenticator, EndSpan, Reporter, SpanRecorder};
pub use questions::{ClusterAnswer, Counts, NameRange, RoomMember};
pub use row::{Filter, Row, RowDetail, RowPage};
pub use settings::DialectSettings;
pub use shard::Shard;
pub use tail::{Tail, TailsFull};
pub use transport::Transport;

use batch::{Prepared, Variant};
