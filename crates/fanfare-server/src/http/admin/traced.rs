//! The forms of traced events in the service API.

use std::time::{Duration, UNIX_EPOCH};

use fanfare_core::timestamp_micros;
use fanfare_engine::{ConnectionTrace, DeliveryTrace, EntryTrace, EventTrace, TraceRule, TracedEvent};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Always, reply, verdict::outcome};

/// The outcome of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownTrace<'a> {
    #[schema(inline)]
    event: ShownEvent<'a>,
    /// Its entry; null if no node has recorded one, for example because another program published it on the broker.
    #[schema(inline, required)]
    entry: Option<ShownEntry<'a>>,
    /// The nodes that received it from the broker.
    #[schema(inline)]
    deliveries: Vec<ShownDelivery<'a>>,
    /// The number of nodes that have answered, including those without a trace of it.
    nodes: usize,
    /// The outcome for the user; null if no user was named, neither in this request nor when the trace was armed.
    #[schema(inline, required)]
    about: Option<UserVerdict<'a>>,
    /// True if a node has not answered; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A traced event, without its data.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownEvent<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(required)]
    kind: Option<&'a str>,
    /// The user of its audience.
    #[schema(required)]
    user: Option<&'a str>,
    /// The channel of its audience. An event without a user and a channel is for everyone.
    #[schema(required)]
    channel: Option<&'a str>,
    #[schema(format = DateTime)]
    published_at: String,
    #[schema(required)]
    sender: Option<&'a str>,
    /// The connection that sent it.
    #[schema(required)]
    sending_connection: Option<Uuid>,
    /// The length of its data.
    data_bytes: usize,
    /// The number of users that may receive it; null if it is not private.
    #[schema(required)]
    private_to: Option<usize>,
    /// The connection that must not receive it.
    #[schema(required)]
    except: Option<Uuid>,
}

/// The entry of an event.
#[derive(Serialize, ToSchema)]
struct ShownEntry<'a> {
    /// The node that received it from its publisher.
    node: Uuid,
    /// `service_api`, `redis_door`, `client`, `dialect_route`, `messages` or `presence`.
    door: &'a str,
    /// The dialect of the client or of the route.
    #[schema(required)]
    dialect: Option<&'a str>,
    /// The time, by the clock of that node.
    #[schema(format = DateTime)]
    at: String,
    /// The reason why a client was allowed to publish it on its channel.
    #[schema(required)]
    allowed_by: Option<&'a str>,
    /// The access rule that allowed it.
    #[schema(inline, required)]
    rule: Option<ShownRule<'a>>,
}

/// The outcome of an event on one node.
#[derive(Serialize, ToSchema)]
struct ShownDelivery<'a> {
    node: Uuid,
    /// The time of its arrival from the broker, by the clock of that node.
    #[schema(format = DateTime)]
    at: String,
    /// The shards that may have receivers.
    shards: usize,
    finished_shards: usize,
    /// Connections that should receive it.
    matched: u64,
    /// Connections to which it was written or queued.
    queued: u64,
    /// Connections whose queue was full.
    dropped: u64,
    /// Subscribed connections that must not receive it.
    filtered: u64,
    #[schema(inline)]
    connections: Vec<ShownConnection<'a>>,
    /// Connections that are counted and not recorded.
    left_out: u64,
}

/// The outcome of an event at one connection.
#[derive(Serialize, ToSchema)]
struct ShownConnection<'a> {
    id: Uuid,
    dialect: &'a str,
    #[schema(required)]
    user: Option<&'a str>,
    /// `acknowledged`, `written`, `queued`, `lost`, `queue_full`, `undecided`, `unauthorized`, `refused`,
    /// `private`, `sender`, `expired`, `closing`, `unrendered` or `unsubscribed`.
    outcome: &'static str,
    /// The same in a sentence.
    reason: String,
    /// The access rule that decided.
    #[schema(inline, required)]
    rule: Option<ShownRule<'a>>,
    /// Frames that waited before it, and their bytes.
    frames_ahead: usize,
    bytes_ahead: usize,
    /// The length of its frame.
    frame_bytes: usize,
    /// The time from its arrival at the node until it was queued, in milliseconds.
    #[schema(required)]
    queued_ms: Option<f64>,
    /// The time until the socket had accepted all of it.
    #[schema(required)]
    written_ms: Option<f64>,
    /// The time until the peer's TCP had acknowledged all of it.
    #[schema(required)]
    acknowledged_ms: Option<f64>,
}

/// An access rule.
#[derive(Serialize, ToSchema)]
struct ShownRule<'a> {
    /// Its number among the rules, from 1.
    number: usize,
    pattern: &'a str,
}

/// The outcome of an event for a user.
#[derive(Serialize, ToSchema)]
pub(super) struct UserVerdict<'a> {
    pub(super) user: &'a str,
    /// The best outcome of the user's connections; or `no_connection`, `connected_later`, `other_user` or
    /// `unknown`.
    pub(super) verdict: &'static str,
    /// The same in a sentence.
    pub(super) reason: String,
    /// The user's connections now, on all nodes; at most 100.
    pub(super) connections_now: usize,
}

impl<'a> ShownTrace<'a> {
    /// Joins the nodes' traces; there must be at least one. `nodes` is the number of nodes that have answered.
    pub(super) fn new(
        traces: &'a [EventTrace],
        nodes: usize,
        about: Option<UserVerdict<'a>>,
        degraded: Option<Always<true>>,
    ) -> Self {
        let entry = |trace: &'a EventTrace| Some(ShownEntry::of(trace.node, trace.entry.as_ref()?));
        let delivery = |trace: &'a EventTrace| Some(ShownDelivery::of(trace.node, trace.delivery.as_ref()?));
        Self {
            event: ShownEvent::of(&traces[0].event),
            entry: traces.iter().find_map(entry),
            deliveries: traces.iter().filter_map(delivery).collect(),
            nodes,
            about,
            degraded,
        }
    }
}

impl<'a> ShownEvent<'a> {
    pub(super) fn of(event: &'a TracedEvent) -> Self {
        Self {
            id: event.id,
            kind: event.kind.as_deref(),
            user: event.user.as_deref(),
            channel: event.channel.as_deref(),
            published_at: reply::time_since_1970(Duration::from_millis(event.published_at_ms)),
            sender: event.sender.as_deref(),
            sending_connection: event.sending_connection,
            data_bytes: event.data_bytes,
            private_to: event.private_to,
            except: event.except,
        }
    }
}

impl<'a> ShownEntry<'a> {
    fn of(node: Uuid, entry: &'a EntryTrace) -> Self {
        Self {
            node,
            door: &entry.door,
            dialect: entry.dialect.as_deref(),
            at: micros(entry.at_us),
            allowed_by: entry.allowed_by.as_deref(),
            rule: entry.rule.as_ref().map(ShownRule::of),
        }
    }
}

impl<'a> ShownDelivery<'a> {
    fn of(node: Uuid, delivery: &'a DeliveryTrace) -> Self {
        Self {
            node,
            at: micros(delivery.at_us),
            shards: delivery.shards,
            finished_shards: delivery.finished,
            matched: delivery.matched,
            queued: delivery.queued,
            dropped: delivery.dropped,
            filtered: delivery.filtered,
            connections: delivery.connections.iter().map(ShownConnection::of).collect(),
            left_out: delivery.left_out,
        }
    }
}

impl<'a> ShownConnection<'a> {
    fn of(connection: &'a ConnectionTrace) -> Self {
        let (outcome, reason) = outcome(connection);
        Self {
            id: connection.id,
            dialect: &connection.dialect,
            user: connection.user.as_deref(),
            outcome,
            reason,
            rule: connection.rule.as_ref().map(ShownRule::of),
            frames_ahead: connection.frames_ahead,
            bytes_ahead: connection.bytes_ahead,
            frame_bytes: connection.frame_bytes,
            queued_ms: connection.queued_us.map(millis),
            written_ms: connection.written_us.map(millis),
            acknowledged_ms: connection.acknowledged_us.map(millis),
        }
    }
}

impl<'a> ShownRule<'a> {
    fn of(rule: &'a TraceRule) -> Self {
        Self {
            number: rule.number,
            pattern: &rule.pattern,
        }
    }
}

fn micros(since_1970: u64) -> String {
    timestamp_micros(UNIX_EPOCH + Duration::from_micros(since_1970)).to_string()
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}
