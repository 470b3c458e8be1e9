//! The fan-out engine: threads with their connections, and events on their way to them.
//!
//! A [`Node`] is what all threads share. Each [`Shard`] is one thread that owns its connections outright, so nothing
//! on the path of a message takes a lock: it accepts, reads, delivers and writes for them. Publications come in by
//! [`Node::publish`], pass the broker, and come back by [`fanfare_core::Inbound`] as batches; `batch` hands each
//! shard its part, `deliver` walks the receivers and writes straight to their sockets, and only what a socket does
//! not take is queued in an `outbox`.

mod admission;
mod ask;
mod batch;
mod census;
mod connection;
mod counters;
mod deliver;
mod grace;
mod hold;
mod inbound;
mod lapses;
mod meter;
mod node;
mod once;
mod outbox;
mod pace;
mod presence;
mod publisher;
mod questions;
mod receivers;
mod requests;
mod say;
mod seat;
mod serve;
mod settings;
mod shard;
mod slots;
mod subscriptions;
mod sweep;
mod talk;
mod told;
mod transport;
mod undecided;
mod work;

#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use batch::Prepared;
pub use census::{Filter, Row};
pub use connection::{Key, Newcomer};
pub use counters::{Counters, DialectCounters};
pub use node::{Holdings, MountedDialect, Mounting, Node, NodeOptions};
pub use once::{InProgress, OnceReceipt, publish_each_once, publish_once, publish_unless_taken};
pub use pace::Pace;
pub use questions::{Channels, Gathered, RoomMember};
pub use seat::Seat;
pub use settings::DialectSettings;
pub use shard::{Shard, ShardCommand, ShardHandle};
pub use transport::Transport;
