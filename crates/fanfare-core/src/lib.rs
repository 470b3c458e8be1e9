//! Fanfare's nouns and the ports between its parts.
//!
//! This crate knows no socket, no Redis and no client protocol. It holds what all the others agree on: what an
//! [`Event`] is and whom it is for, who a connection proved to be, the index of who listens, and the traits behind
//! which protocols ([`Dialect`]) and transports between nodes ([`Broker`]) live.

mod broker;
mod dialect;
mod ending;
mod event;
mod handshake;
mod identity;
mod index;
mod interests;
mod json;
mod names;
mod object;
mod pattern;
mod report;

pub use broker::{BoxFuture, Broker, BrokerError, BrokerHealth, Inbound, Interest, Reach, Receipt};
pub use dialect::{Conversation, Dialect, DialectDefaults, Message, Rejection, Step, Steps};
pub use ending::{Ending, Refusal};
pub use event::{Audience, Event, Sender, timestamp};
pub use handshake::{Handshake, Offer};
pub use identity::{ADMIN_ROLE, Identity};
pub use index::SubscriptionIndex;
pub use interests::{Interests, ShardSet, UserFull};
pub use json::{MAX_DEPTH, NotJson, RawJson, deeper_than};
pub use names::{BadName, Channel, MAX_NAME_BYTES, MAX_SEGMENTS, UserId};
pub use object::{BadObject, RawObject, string};
pub use pattern::{Pattern, Subscription};
pub use report::{DialectFacts, JsonMap, NodeFacts};
