//! Fanfare's nouns and the ports between its parts.
//!
//! This crate knows no socket, no Redis and no client protocol. It holds what all the others agree on: what an
//! [`Event`] is and whom it is for, who a connection proved to be, the index of who listens, and the traits behind
//! which protocols ([`Dialect`]) and transports between nodes ([`Broker`]) live.

mod broker;
mod client_network;
mod conversation;
mod dialect;
mod ending;
mod endpoint;
mod event;
mod guarded_url;
mod handshake;
mod identity;
mod index;
mod interests;
mod json;
mod listening;
mod memory;
mod names;
mod object;
mod options;
mod pattern;
pub mod policy;
mod presence;
mod report;
mod segments;
mod striped;

pub use broker::{
    ANSWER_PATIENCE, Asked, BoxFuture, Broker, BrokerError, BrokerHealth, CLAIM_LIFETIME, Claim, Inbound,
    Interest, MAX_CLAIMS, MAX_MESSAGE_BYTES, MAX_NOTICES, Reach, Receipt, RememberedIds, UNANSWERED_LIFETIME,
};
pub use client_network::ClientNetwork;
pub use conversation::{
    Command, Context, Conversation, Draft, Message, Outcome, Right, Step, Steps, Ticket, Token,
};
pub use dialect::{Description, Dialect, DialectDefaults, DialectKind, Hearing, Hears};
pub use ending::{Denial, Ending, Refusal};
pub use endpoint::{Call, Endpoint, HttpError, HttpReply, Plan};
pub use event::{
    Audience, EVERYONE_CHANNEL, Event, Sender, personal_channel, personal_names, timestamp, timestamp_micros,
};
pub use guarded_url::{GuardedUrl, HIDDEN};
pub use handshake::{About, Handshake, Offer, Rejection};
pub use identity::{ADMIN_ROLE, Identity};
pub use index::{PatternTrie, SubscriptionIndex};
pub use interests::{ChannelInterests, Interests, ShardSet, UserFull};
pub use json::{MAX_DEPTH, NotJson, RawJson, deeper_than, without_mark};
pub use listening::{Heard, ListenPlan, Listening};
pub use memory::give_back;
pub use names::{BadName, Channel, MAX_NAME_BYTES, MAX_SEGMENTS, UserId};
pub use object::{BadObject, RawObject, string};
pub use options::{BadOption, Inherited, OptionKind, OptionSpec, OptionValue, Options, Target, Unit};
pub use pattern::{Pattern, Subscription};
pub use presence::{
    Announcement, Entered, Entry, EntryTicket, Member, Presence, PresenceCounts, Present, Slot, SlotScope,
};
pub use report::{
    ConnectionFacts, DialectFacts, DialectReport, Figure, FigureValue, JsonMap, NodeFacts, Report, fields,
};
pub use striped::{Stripe, Striped, forget, locked};
