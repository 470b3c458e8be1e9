//! `POST /api/v1/events`: services publish.

use std::time::SystemTime;

use fanfare_brokers::wire::parse_publication;
use fanfare_core::Receipt;
use http::StatusCode;
use hyper::body::Incoming;
use serde::Serialize;
use uuid::Uuid;

use super::{
    super::{Site, body},
    Reply, api_error, invalid, reply,
};
use crate::engine::publish_once;

/// What is answered to a publisher.
#[derive(Serialize)]
struct Published {
    /// The events' ids, in order.
    ids: Vec<Uuid>,
    /// Connections on all nodes to which an event was queued.
    recipients: u64,
    /// What became of each event, in the order of `ids`.
    receipts: Vec<Delivery>,
    /// Not every node has answered, or the broker was away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
}

/// What became of one event.
#[derive(Serialize)]
struct Delivery {
    /// Connections that should have it.
    matched: u64,
    /// Connections to which it was queued.
    queued: u64,
    /// Connections that could not take it, since their queue was full.
    dropped: u64,
    /// Nodes that it was brought to, to look for such connections.
    nodes: u32,
}

impl Published {
    fn new(ids: Vec<Uuid>, receipts: &[Receipt]) -> Self {
        let delivery = |receipt: &Receipt| Delivery {
            matched: receipt.reach.matched,
            queued: receipt.reach.queued,
            dropped: receipt.reach.dropped,
            nodes: receipt.nodes,
        };
        Self {
            ids,
            recipients: receipts.iter().map(|receipt| receipt.reach.queued).sum(),
            receipts: receipts.iter().map(delivery).collect(),
            degraded: receipts.iter().any(|receipt| receipt.degraded),
        }
    }
}

/// Publishes one event or an array of them; all or nothing.
pub(super) async fn publish(sent: Incoming, site: &Site) -> Reply {
    let body = match body::read(sent, &site.options).await {
        Ok(body) => body,
        Err(unread) => return api_error(unread.status(), "INVALID_REQUEST", unread.message()),
    };
    let events = match parse_publication(&body, SystemTime::now()) {
        Ok(events) => events,
        Err(error) => return invalid(&error.to_string()),
    };
    let ids = events.iter().map(|event| event.id).collect();
    let Some(broker) = site.node.broker().cloned() else {
        return api_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "STARTING",
            "the server is starting",
        );
    };
    // A task of its own: a caller that hangs up early must not leave ids claimed and unpublished.
    let publishing = tokio::spawn(async move { publish_once(&*broker, events).await });
    let receipts = match publishing.await {
        Ok(Ok(receipts)) => receipts,
        Ok(Err(busy)) => return api_error(StatusCode::CONFLICT, "IN_PROGRESS", &busy.to_string()),
        Err(_) => {
            return api_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "publishing failed",
            );
        }
    };
    reply::json(StatusCode::OK, &Published::new(ids, &receipts))
}
