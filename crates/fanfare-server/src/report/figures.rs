//! The figures of one node, for the other nodes and for the service API.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fanfare_accounts::{Accounts, storage::Storage};
use fanfare_core::{BrokerHealth, unix_millis};
use fanfare_engine::{MountedDialect, Node};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::problems::Occurrences;
use crate::upkeep::Upkeep;

/// The time limit for the broker's answer: the requesting node waits a second for all reports.
const BROKER_PATIENCE: Duration = Duration::from_millis(500);

/// One node's figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct NodeFigures {
    /// The node's id, new at each start.
    pub(crate) id: Uuid,
    /// The name of its machine; null if it is unknown.
    #[schema(required)]
    pub(crate) host: Option<String>,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    /// The time of these figures, in milliseconds of Unix time.
    pub(crate) time_ms: u64,
    pub(crate) shards: usize,
    pub(crate) draining: bool,
    /// Open connections of all dialects.
    pub(crate) connections: u64,
    #[schema(inline)]
    pub(crate) dialects: Vec<DialectFigures>,
    /// Events received from the broker since the start.
    pub(crate) events: u64,
    /// Publications received from other programs: by the broker or the Redis-protocol door.
    pub(crate) publications: u64,
    /// Different channels with subscribers, rooms included.
    pub(crate) channels: u64,
    pub(crate) channel_subscriptions: u64,
    pub(crate) pattern_subscriptions: u64,
    /// Rooms with members on this node.
    pub(crate) rooms: u64,
    #[schema(inline)]
    pub(crate) delivery: DeliveryFigures,
    #[schema(inline)]
    pub(crate) broker: LinkFigures,
    #[schema(inline)]
    pub(crate) database: DatabaseFigures,
    /// The end of each TLS listener's certificate, in seconds of Unix time; null while ACME has issued none.
    pub(crate) certificates: BTreeMap<String, Option<u64>>,
    /// Whether the last reload was refused, so that earlier settings are in force.
    pub(crate) reload_refused: bool,
    /// Whether the last order of a certificate failed.
    pub(crate) order_failed: bool,
    /// Problems, by the names that /api/v1/problems explains.
    #[schema(inline)]
    pub(crate) problems: BTreeMap<String, Occurrences>,
}

/// One dialect's figures on one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct DialectFigures {
    pub(crate) name: String,
    pub(crate) connections: u64,
    pub(crate) max_connections: u64,
    /// Different users among them.
    pub(crate) users: u64,
    pub(crate) subscriptions: u64,
    /// Connections opened since the start.
    pub(crate) opened: u64,
    /// Messages written or queued to clients since the start.
    pub(crate) sent: u64,
    /// Messages that did not reach clients since the start: the queue was full, or the connection ended.
    pub(crate) dropped: u64,
    /// Messages from clients since the start.
    pub(crate) received: u64,
    /// Connections that the server ended since the start, by reason.
    pub(crate) ended: BTreeMap<String, u64>,
    /// Handshakes refused since the start, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// The time from an event's arrival at this node until it was written or queued for each receiver, since the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct DeliveryFigures {
    /// Batches of events.
    pub(crate) count: u64,
    pub(crate) sum_seconds: f64,
    /// Batches that took at most `le` seconds.
    #[schema(inline)]
    pub(crate) buckets: Vec<DeliveryBucket>,
}

/// One bucket of a histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct DeliveryBucket {
    pub(crate) le: f64,
    pub(crate) count: u64,
}

/// The connection between the node and its broker.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct LinkFigures {
    /// `embedded`, `connected`, or `disconnected`.
    pub(crate) status: String,
    /// The broker's response time, measured for this answer; null if it is embedded or did not answer.
    #[schema(required)]
    pub(crate) round_trip_ms: Option<f64>,
    /// The reason why it is disconnected.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// The number of reconnects since the start.
    pub(crate) reconnects: u64,
    /// The number of other nodes: live, and missing.
    pub(crate) peers: BTreeMap<String, u64>,
}

/// The state of the node's database.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct DatabaseFigures {
    /// `up` or `down`.
    pub(crate) status: String,
    /// The reason why it is down.
    #[schema(required)]
    pub(crate) error: Option<String>,
}

pub(super) async fn of(
    node: &Node,
    accounts: &Accounts,
    upkeep: &Upkeep,
    problems: BTreeMap<String, Occurrences>,
) -> NodeFigures {
    let (facts, holdings) = (node.facts(), node.subscription_counts());
    let shown = |own: &&Arc<MountedDialect>| !own.hidden || own.counters.opened.load(Relaxed) > 0;
    let dialects = node.dialects.iter().filter(shown);
    NodeFigures {
        id: node.id,
        host: host(),
        version: facts.version.to_owned(),
        uptime_seconds: facts.uptime.as_secs(),
        time_ms: unix_millis(facts.now),
        shards: facts.shards,
        draining: node.is_draining(),
        connections: node.active(),
        dialects: dialects.map(|own| of_dialect(node, own)).collect(),
        events: node.counters.events.load(Relaxed),
        publications: facts.publications_received,
        channels: holdings.channels,
        channel_subscriptions: holdings.channel_subscriptions,
        pattern_subscriptions: holdings.pattern_subscriptions,
        rooms: holdings.rooms,
        delivery: delivery(node),
        broker: broker(node).await,
        database: database(accounts.storage()),
        certificates: upkeep.certificate_ends().into_iter().collect(),
        reload_refused: upkeep.reloads.has_failed(),
        order_failed: upkeep.orders.has_failed(),
        problems,
    }
}

fn of_dialect(node: &Node, mounted: &MountedDialect) -> DialectFigures {
    let facts = node.dialect_facts(mounted);
    let named =
        |counts: Vec<(&'static str, u64)>| counts.into_iter().map(|(name, count)| (name.to_owned(), count));
    DialectFigures {
        name: mounted.name.to_owned(),
        connections: facts.active,
        max_connections: facts.max_connections,
        users: facts.users,
        subscriptions: mounted.counters.subscriptions.load(Relaxed),
        opened: facts.opened,
        sent: facts.sent,
        dropped: facts.failed,
        received: facts.received,
        ended: named(mounted.counters.endings.all()).collect(),
        refused: named(mounted.counters.refusals.all()).collect(),
    }
}

fn delivery(node: &Node) -> DeliveryFigures {
    let snapshot = node.counters.delivery.snapshot();
    let buckets = snapshot.buckets().into_iter();
    DeliveryFigures {
        count: snapshot.count(),
        sum_seconds: snapshot.sum().as_secs_f64(),
        buckets: buckets.map(|(le, count)| DeliveryBucket { le, count }).collect(),
    }
}

async fn broker(node: &Node) -> LinkFigures {
    let counted = node.broker().figures();
    let peers = counted.peers.into_iter();
    let health = tokio::time::timeout(BROKER_PATIENCE, node.broker().health()).await;
    let (status, round_trip, error) = match health {
        Ok(BrokerHealth::Embedded) => ("embedded", None, None),
        Ok(BrokerHealth::Connected { round_trip }) => ("connected", Some(round_trip), None),
        Ok(BrokerHealth::Disconnected { error }) => ("disconnected", None, Some(error)),
        Err(_) => {
            let error = "it did not answer in half a second";
            ("disconnected", None, Some(error.to_owned()))
        }
    };
    LinkFigures {
        status: status.to_owned(),
        round_trip_ms: round_trip.map(|time| (time.as_secs_f64() * 100_000.0).round() / 100.0),
        error,
        reconnects: counted.reconnects,
        peers: peers.map(|(state, count)| (state.to_owned(), count)).collect(),
    }
}

fn database(storage: &Storage) -> DatabaseFigures {
    let outage = storage.outage();
    DatabaseFigures {
        status: if outage.is_none() { "up" } else { "down" }.to_owned(),
        error: outage.map(|outage| outage.to_string()),
    }
}

/// Returns the name of this machine, if the system has one.
pub(super) fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
