//! The broker of many nodes, over any transport: events and their receipts, history, presence, questions and notices.
//!
//! A node calls a [`Broker`](fanfare_core::Broker), and the broker calls the node's [`Inbound`](fanfare_core::Inbound). This crate
//! has two brokers: [`ClusterBroker`] for nodes that share a transport, and [`embedded`] for a single node.
//!
//! This crate must never know a server, a client library, a connection of a client, or a dialect. It knows other nodes only by the
//! ports in [`transport`].
//!
//! # The path of an event
//!
//! 1. [`ClusterBroker`] receives the event. `receipts` notes which replies its publisher waits for.
//! 2. `publisher` gathers the events of all callers and sends them in batches, by the connection of `link`. [`wire::encode`] writes
//!    each event. The journal of the transport numbers those with history ([`transport::JournalStore`]).
//! 3. `receiver` reads from the other connection. `subscriptions` subscribes to users and channels one by one, or to all channels
//!    if the node holds a pattern. While both are in force, `channel_source` decides which copy counts.
//! 4. `gaps` holds a kept event back until the events before it have arrived, or have been fetched from the journal.
//! 5. `arrivals` routes the events that have nothing missing before them. Events of this node also arrive here: every node delivers
//!    the echo of its messages, so that all nodes deliver in one order.
//!    - Events that other programs published wait in `foreign` until their ids are claimed.
//!    - `recorder` replaces those whose audience has history by numbered copies.
//!    - Announcements of rooms pass through `presence`.
//! 6. `deliveries` is the one queue to this node, and `deliverer` empties it. The reach returns to the publisher's `receipts`.
//!
//! If an echo cannot arrive or is late, the node delivers the event directly. `recent` then recognises a late echo, so nothing is
//! delivered twice.
//!
//! # The other parts
//!
//! | module | contents |
//! |---|---|
//! | `peers`, `reports` | which nodes are live |
//! | `questions`, `answers`, `requests` | questions to all nodes |
//! | `notices` | messages that every live node receives once, in order |
//! | `ids`, `id_memory` | idempotency keys, in the shared store and in this node's memory |
//! | `presence` | rooms, slots and leases, over all nodes; `local_rooms` for a single node |
//! | [`journal`] | history in one process |
//! | `probes`, `status` | whether messages arrive, and the log of outages |
//! | [`wire`] | the form of events on a transport and in the service API |
//!
//! # Examples
//!
//! A journal numbers an event, and reads it again for a client without a cursor:
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use fanfare_cluster::{journal::MemoryJournal, wire};
//! use fanfare_core::{
//!     Channel,
//!     history::{History, Retention},
//!     journal::{ReplayFrom, ReplayQuery, ReplayScope},
//! };
//!
//! let body = r#"{"to": {"channel": "news"}, "data": "Rain"}"#;
//! let mut events = wire::parse_publication(&body.into(), SystemTime::now())?;
//! events[0].history = History::Wanted(Retention { size: 100, ttl: Duration::from_secs(3600) });
//!
//! let journal = MemoryJournal::new(1 << 20);
//! let delivered = journal.append(events, |events| events);
//! assert!(matches!(delivered[0].history, History::Kept(_)));
//!
//! let scope = ReplayScope { channels: vec![Channel::new("news")?], ..ReplayScope::default() };
//! let replay = journal.read(&ReplayQuery { scope, from: ReplayFrom::Newest(10), limit: 10 });
//! assert_eq!(replay.events[0].data.as_str(), r#""Rain""#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

/// The time that a transport may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
