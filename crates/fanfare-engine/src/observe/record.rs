//! The trace of an event on one node, in the form that nodes exchange.

use fanfare_core::{Event, policy::DecidingRule};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The trace of one event on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTrace {
    /// The node.
    pub node: Uuid,
    /// The time at which the node began the trace, in microseconds of Unix time.
    pub recorded_at_us: u64,
    /// The armed traces that recorded it.
    pub arms: Vec<Uuid>,
    /// The user whose connections are recorded even if they did not match.
    pub focus: Option<Box<str>>,
    /// The event, without its data.
    pub event: TracedEvent,
    /// The entry of the event into the cluster, if it entered on this node.
    pub entry: Option<EntryTrace>,
    /// Its delivery on this node, if it arrived here.
    pub delivery: Option<DeliveryTrace>,
}

/// A traced event, without its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedEvent {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub kind: Option<Box<str>>,
    /// The user that it is for.
    pub user: Option<Box<str>>,
    /// The channel that it is on. Without a user and a channel it is for everyone.
    pub channel: Option<Box<str>>,
    /// The time of publication, in milliseconds of Unix time.
    pub published_at_ms: u64,
    /// The sender.
    pub sender: Option<Box<str>>,
    /// The connection that sent it.
    pub sending_connection: Option<Uuid>,
    /// The length of its data, in bytes.
    pub data_bytes: usize,
    /// The number of users that a private event is for; `None` if it is not private.
    pub private_to: Option<usize>,
    /// The connection that does not receive it.
    pub except: Option<Uuid>,
}

/// The entry of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryTrace {
    /// The door.
    pub door: Box<str>,
    /// The dialect, if a client or a dialect's own route published it.
    pub dialect: Option<Box<str>>,
    /// The time of the entry, in microseconds of Unix time by the clock of this node.
    pub at_us: u64,
    /// The reason why a client was allowed to publish it, in a sentence.
    pub allowed_by: Option<Box<str>>,
    /// The rule that allowed it.
    pub rule: Option<TraceRule>,
}

/// A traced event in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// The event, without its data.
    pub event: TracedEvent,
    /// The time at which the node began the trace, in microseconds of Unix time.
    pub recorded_at_us: u64,
    /// The armed traces that recorded it.
    pub arms: Vec<Uuid>,
}

/// The outcome of an event on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTrace {
    /// The time of its arrival, in microseconds of Unix time by the clock of this node.
    pub at_us: u64,
    /// The shards that may have receivers.
    pub shards: usize,
    /// The shards that have finished.
    pub finished: usize,
    /// Connections that should receive it.
    pub matched: u64,
    /// Connections to which it was written or queued.
    pub queued: u64,
    /// Connections that could not take it because their queue was full.
    pub dropped: u64,
    /// Subscribed connections that were not allowed to receive it.
    pub filtered: u64,
    /// The recorded connections, in order.
    pub connections: Vec<ConnectionTrace>,
    /// Connections that are counted and not recorded, because there were too many.
    pub left_out: u64,
}

/// The outcome of an event at one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTrace {
    /// The connection.
    pub id: Uuid,
    /// Its dialect.
    pub dialect: Box<str>,
    /// Its user.
    pub user: Option<Box<str>>,
    /// The outcome.
    pub fate: Fate,
    /// The reason, in a sentence.
    pub reason: Option<Box<str>>,
    /// The access rule that decided.
    pub rule: Option<TraceRule>,
    /// Frames that waited before it.
    pub frames_ahead: usize,
    /// Their bytes.
    pub bytes_ahead: usize,
    /// The length of its frame, in bytes.
    pub frame_bytes: usize,
    /// The time until it was queued or written at once, in microseconds since the node began the trace.
    pub queued_us: Option<u64>,
    /// The time until the socket had taken all of it, in the same way.
    pub written_us: Option<u64>,
    /// The time until the peer of the socket had acknowledged all of it, in the same way.
    pub acknowledged_us: Option<u64>,
}

/// An access rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRule {
    /// Its number among the rules, from 1.
    pub number: usize,
    /// Its pattern.
    pub pattern: Box<str>,
}

impl From<DecidingRule> for TraceRule {
    fn from(rule: DecidingRule) -> Self {
        Self {
            number: rule.number,
            pattern: rule.pattern.into(),
        }
    }
}

/// The outcome of an event at one connection, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The peer's TCP has acknowledged all of its bytes.
    Acknowledged,
    /// The socket has taken all of its bytes.
    Written,
    /// It waits in the connection's queue.
    Queued,
    /// The authorizer was asked and has not answered yet.
    Undecided,
    /// It was queued, and the connection ended before the socket had taken it.
    Lost,
    /// The connection's queue was full, which ends the connection.
    QueueFull,
    /// The connection's credential has expired.
    Expired,
    /// The connection was closing.
    Closing,
    /// The authorizer refused, or did not answer.
    Unauthorized,
    /// An access rule or a default refused it.
    Refused,
    /// It is private to other users.
    Private,
    /// The connection sent it, and its publisher wanted no echo.
    Sender,
    /// The connection's dialect has no message for it.
    Unrendered,
    /// The connection has no subscription that covers it.
    Unsubscribed,
}

impl TracedEvent {
    pub(super) fn of(event: &Event, published_at_ms: u64) -> Self {
        let (user, channel) = event.audience.names();
        let sender = event.sender.as_deref();
        Self {
            id: event.id,
            kind: event.kind.clone(),
            user: user.map(Into::into),
            channel: channel.map(Into::into),
            published_at_ms,
            sender: sender.map(|sender| sender.id.clone()),
            sending_connection: sender.and_then(|sender| sender.connection),
            data_bytes: event.data.bytes().len(),
            private_to: event.private_to.as_deref().map(<[_]>::len),
            except: event.except,
        }
    }
}

impl Fate {
    /// Returns whether the connection was not to receive the event although it is subscribed.
    pub fn is_filtered(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::Refused | Self::Private | Self::Sender
        )
    }
}
