//! What nodes do together, over any transport: events and their receipts, questions to all nodes, notices that every node
//! receives once, idempotency keys, and the probe that shows that messages arrive.
//!
//! A transport and its store of ids are small ports ([`transport`]); this crate knows no server and no client library. The
//! embedded broker for a node without others is [`embedded`].
//!
//! Two connections: one publishes (`link`, `publisher`), one receives (`receiver`), for which `subscriptions` subscribes to
//! users and channels one by one, or, on a node that holds patterns, to all channels at once. What a node publishes reaches
//! its own connections by the echo of its own message, so that all nodes deliver in one order. Only where the echo cannot
//! arrive or does not arrive is an event delivered directly; `receipts` accounts for that, so that nothing is lost in
//! silence and nothing is delivered twice. Everything for this node passes one queue (`deliveries`); before it, events that
//! no node published wait until their ids are claimed (`foreign`) and, if their audience has history, until one node has recorded them
//! (`recorder`). Who is in which room, on all nodes, is `presence`.

mod answers;
mod arrivals;
mod backoff;
mod broker;
mod channel_source;
mod deliverer;
mod deliveries;
pub mod embedded;
mod foreign;
mod gaps;
#[cfg(any(test, feature = "testing"))]
pub mod hub;
mod id_memory;
mod ids;
mod in_order;
mod interests;
pub mod journal;
mod link;
mod list_limit;
mod local;
mod local_presence;
mod local_rooms;
mod messages;
mod node;
mod notices;
mod outbox;
mod peers;
mod presence;
mod probes;
mod publisher;
mod questions;
mod receipts;
mod receiver;
mod recent;
mod recorder;
mod replays;
mod reports;
mod requests;
mod shared;
mod status;
mod subscriptions;
#[cfg(test)]
mod test_hub;
pub mod transport;
pub mod wire;

use std::time::Duration;

pub use broker::ClusterBroker;
pub use gaps::{MAX_FETCHED, MAX_WATCHED};
pub use shared::ClusterOptions;

/// How long a transport may take to answer anything.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
