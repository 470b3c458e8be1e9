//! `POST /api/v1/events`: publishes the events of backends.

use std::time::SystemTime;

use fanfare_cluster::wire::{Publication, parse_publication};
use fanfare_core::{PublishOptions, Receipt};
use fanfare_engine::Conflict;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Always, ApiError, ApiFailure, Reply, RouteCall, api_error, body, degraded, internal, reply, traceparent,
};

/// The reply to a publication.
#[derive(Serialize, ToSchema)]
struct Published {
    /// The events' ids, in order.
    ids: Vec<Uuid>,
    /// Connections on all nodes to which an event was queued.
    recipients: u64,
    /// The delivery of each event, in the order of ids.
    receipts: Vec<Delivery>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
    /// True if the whole request is a repeat: each of its ids had been published before, and nothing was published now.
    /// Otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    duplicate: Option<Always<true>>,
}

/// The delivery of one event.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
struct Delivery {
    /// Connections that the event is for.
    matched: u64,
    /// Connections to which it was queued.
    queued: u64,
    /// Connections whose queue was full.
    dropped: u64,
    /// Nodes that received it.
    nodes: u32,
    /// True if this request did not publish the event: its id had been published before, or stands twice in the list.
    /// Otherwise absent. The other fields are those of the first publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    duplicate: Option<Always<true>>,
}

impl Published {
    fn new(ids: Vec<Uuid>, receipts: &[Receipt]) -> Self {
        let delivery = |receipt: &Receipt| Delivery {
            matched: receipt.reach.matched,
            queued: receipt.reach.queued,
            dropped: receipt.reach.dropped,
            nodes: receipt.nodes,
            duplicate: receipt.is_duplicate.then_some(Always),
        };
        let is_repeat = receipts.iter().all(|receipt| receipt.is_duplicate);
        Self {
            ids,
            recipients: receipts.iter().map(|receipt| receipt.reach.queued).sum(),
            receipts: receipts.iter().map(delivery).collect(),
            degraded: degraded(receipts.iter().all(|receipt| !receipt.degraded)),
            duplicate: is_repeat.then_some(Always),
        }
    }
}

/// Publishes one event, or a list of events: all of them or none.
///
/// An event whose id was published in the last ten minutes is not published again. The reply is then that of the first
/// publication with duplicate: true; it counts no connections if the first one arrived on the Redis channel
/// fanfare:events of a real Redis. In a list, each repeat is marked in its receipt, and the whole reply if all of them
/// are repeats.
#[utoipa::path(
    post,
    path = "/api/v1/events",
    operation_id = "publishEvents",
    request_body(
        content = inline(Publication),
        example = json!({
            "to": { "user": "123" },
            "type": "order.shipped",
            "data": { "order": 42 },
        }),
    ),
    responses(
        (
            status = 200,
            description = "Published.",
            body = inline(Published),
            example = json!({
                "ids": ["0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"],
                "recipients": 3,
                "receipts": [{ "matched": 4, "queued": 3, "dropped": 1, "nodes": 2 }],
            }),
        ),
        (
            status = 409,
            description = "An event of this id is being published by another request.",
            body = ApiError<'static>,
        ),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn publish(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let site = call.site;
    let body = body::read(call.body, site).await?;
    let now = SystemTime::now();
    let mut events = match body.parse(move |bytes| parse_publication(bytes, now)).await {
        Ok(events) => events,
        Err(error) => return Err(body.explain(error.to_string().into()).await),
    };
    drop(body);
    if let Some(trace) = traceparent(&call.head.headers) {
        for event in &mut events {
            event.traceparent = Some(trace.clone());
        }
    }
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    site.node.record_entry("service_api", None, &events);
    let options = PublishOptions { receipt: true };
    // In its own task, so that a panic becomes a reply.
    let published = tokio::spawn(site.node.publish(events, options, Conflict::Wait)).await;
    let receipts = published
        .map_err(|_| internal("publishing failed"))?
        .map_err(|busy| api_error(StatusCode::CONFLICT, "IN_PROGRESS", &busy.to_string()))?;
    let what = match &ids[..] {
        [id] => format!("published the event {id}"),
        ids => format!("published {} events", ids.len()),
    };
    call.audit.published(&what);
    Ok(reply::ok(&Published::new(ids, &receipts)))
}
