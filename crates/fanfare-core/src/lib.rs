//! Fanfare's basic types, and the ports between its parts.
//!
//! All other crates except `fanfare-ws` build on these types. This page shows them in the order in which an event passes them.
//!
//! This crate contains no socket, no wire format, no broker's server and no client protocol: no name, text or room of a dialect. A
//! dialect declares such facts as values, for example [`policy::KnownNames`].
//!
//! # An event and its audience
//!
//! An [`Event`] is for a user, for a channel or for everyone ([`Audience`]). Its data is [`RawJson`]: the publisher's bytes, checked
//! but never re-serialised.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use fanfare_core::{Audience, Event, RawJson, UserId};
//!
//! let data = RawJson::parse(&r#"{"parcel": "A-17", "weight": 1.10}"#.into())?;
//! let event = Event::new(Audience::User(UserId::new("mia")?), Some("parcel.delivered"), data, SystemTime::now());
//! assert_eq!(event.data.as_str(), r#"{"parcel": "A-17", "weight": 1.10}"#); // not 1.1
//!
//! // A user's personal channel has three names.
//! assert_eq!(Audience::of_channel("user_noti:mia")?, event.audience);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Access
//!
//! One [`policy::AccessControl`] decides for all dialects which users may subscribe to, join and publish on a
//! [`Channel`]: by the rules of its [`policy::Policy`], and by the [`policy::Authorizer`] if no rule decides.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use fanfare_core::{
//!     Channel, Identity, UserId,
//!     policy::{AccessControl, Action, Grant, Permission, Policy, PolicyOptions, Rule, RulePattern},
//! };
//!
//! let policy = Policy::new(PolicyOptions {
//!     rules: vec![Rule {
//!         pattern: RulePattern::new("reports.{user}.**")?,
//!         subscribe: Some("owner".parse()?),
//!         publish: Some(Grant::Service),
//!         join: None,
//!         history: None,
//!     }],
//!     ..PolicyOptions::default()
//! });
//! let mia = Identity::new(UserId::new("mia")?, SystemTime::now());
//! let access = AccessControl::new(policy, None);
//! let judge = |action, channel| access.judge(Some(&mia), action, &channel);
//! assert_eq!(judge(Action::Subscribe, Channel::new("reports.mia.may")?), Permission::Allowed);
//! assert_eq!(judge(Action::Subscribe, Channel::new("reports.ben.may")?), Permission::Denied);
//! assert_eq!(judge(Action::Publish, Channel::new("reports.mia.may")?), Permission::Denied); // only backends
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Receivers
//!
//! Two indexes find an event's receivers. [`Interests`] has the users and channels that a node requests from the [`Broker`], and the
//! shards with a receiver of each. The shard's [`SubscriptionIndex`] finds the connections:
//!
//! ```
//! use fanfare_core::{Channel, Pattern, SubscriptionIndex};
//!
//! let mut index = SubscriptionIndex::default();
//! index.add_channel(&Channel::new("board.kitchen")?, 1);
//! index.add_pattern(&Pattern::new("board.**")?, 2);
//!
//! let mut matching = Vec::new();
//! index.pattern_members(&Channel::new("board.kitchen")?, &mut matching);
//! assert_eq!((index.channel_members("board.kitchen"), matching), (&[1][..], vec![2]));
//! # Ok::<(), fanfare_core::BadName>(())
//! ```
//!
//! # A client protocol
//!
//! A [`DialectKind`] is a protocol with its options, a [`Dialect`] is a configured protocol. It has four sides: [`Accept`] reads the
//! [`RequestHead`] and has the text of each [`Refusal`], [`Converse`] begins a connection's [`Conversation`], [`Render`] renders events
//! and has the text of each [`Ending`], and [`Respond`] replies to HTTP requests. A conversation is a state machine without a socket
//! and without a clock: messages and outcomes in, [`Step`]s out.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use fanfare_core::{Command, Context, Conversation, Message, Step, Steps, Subscription};
//!
//! /// Subscribes to every topic that the client sends.
//! struct Subscriber;
//!
//! impl Conversation for Subscriber {
//!     fn text(&mut self, topic: &str, _context: &Context<'_>, steps: &mut Steps) {
//!         if let Ok(topic) = Subscription::parse(topic) {
//!             steps.push(Step::Ask(Command::Subscribe { to: vec![topic], whole: true, resume: None }));
//!         }
//!     }
//! }
//!
//! let context = Context::new(SystemTime::now(), uuid::Uuid::nil(), None);
//! let mut steps = Steps::new();
//! Subscriber.received(Message::Text("board.*"), &context, &mut steps);
//! assert!(matches!(&steps[..], [Step::Ask(Command::Subscribe { .. })]));
//! ```
//!
//! # Other nodes
//!
//! A [`Broker`] carries events between nodes and delivers them to a node's [`Inbound`]. Every event passes it, on one node and on many,
//! so there is one path and one order.

mod broker;
mod client_network;
mod dialect;
mod duration;
mod ending;
mod event;
mod guarded_url;
mod histogram;
pub mod history;
mod identity;
mod index;
mod interests;
pub mod journal;
mod json;
mod log_throttle;
mod memory;
mod mostly_one;
mod names;
mod object;
mod options;
mod pattern;
pub mod policy;
mod presence;
mod report;
mod segments;
mod striped;
mod text;
mod timestamp;

pub use broker::{
    BoxFuture, Broker, BrokerError, BrokerFigures, BrokerHealth, CLAIM_LIFETIME, Claim, Gap, Inbound,
    Interest, MAX_CLAIMS, MAX_MESSAGE_BYTES, MAX_NOTICES, NodeAnswers, PublishOptions, QUESTION_TIMEOUT,
    RENEWAL_TIMEOUT, Reach, Receipt, RememberedIds, UNPUBLISHED_LIFETIME,
};
pub use client_network::ClientNetwork;
pub use dialect::{
    Accept, Call, Command, Context, Conversation, Converse, Dialect, DialectKind, Draft, Endpoint, HttpError,
    HttpReply, ListenMessage, ListenPlan, Listening, Message, Offer, Opening, Outcome, Plan, Receives,
    Reception, RefusalFacts, Registry, Rejection, Render, Rendering, RequestHead, Respond, Resume, Right,
    Step, Steps, Token, path_matches,
};
pub use duration::{DurationText, LONGEST, format_duration, parse_duration};
pub use ending::{Denial, Ending, Refusal};
pub use event::{
    Audience, EVERYONE_CHANNEL, Event, Sender, personal_channel, personal_names, timestamp_micros,
};
pub use guarded_url::{GuardedUrl, HIDDEN};
pub use histogram::{Histogram, HistogramSnapshot, NativeBuckets};
pub use identity::{ADMIN_ROLE, Identity};
pub use index::SubscriptionIndex;
pub use interests::{Interests, ShardSet, UserAtCapacity};
pub use json::{MAX_DEPTH, NotJson, RawJson, deeper_than, without_mark};
pub use log_throttle::LogThrottle;
pub use memory::shrink_if_sparse;
pub use names::{BadName, Channel, MAX_NAME_BYTES, MAX_SEGMENTS, UserId};
pub use object::{BadObject, RawObject, string};
pub use options::{
    BadOptions, DialectOptions, Inherited, NoOptions, Options, OptionsType, Target, Unit, schema_of,
};
pub use pattern::{Pattern, Subscription};
pub use presence::{
    Announcement, Entered, Entry, EntryTicket, MAX_KNOWN_MEMBERS, MAX_LISTED_MEMBERS, Member, Presence,
    PresenceCounts, Present, Slot, SlotScope,
};
pub use report::{
    ConnectionFacts, DialectFacts, DialectReport, Figure, FigureValue, JsonMap, NodeFacts, Report, fields,
};
pub use striped::{Stripe, Striped, forget, locked};
pub use text::OptionalText;
pub use timestamp::{Timestamp, millis, timestamp, unix_millis};
