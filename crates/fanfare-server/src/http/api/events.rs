//! `POST /api/v1/events`: services publish.

use std::time::SystemTime;

use fanfare_brokers::wire::parse_publication;
use http::StatusCode;
use hyper::body::Incoming;
use serde_json::json;

use super::{
    super::{Site, body},
    Reply, api_error, invalid, reply,
};

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
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let receipts = site.node.publish(events).await;
    let recipients: u64 = receipts.iter().map(|receipt| receipt.reach.queued).sum();
    let mut answer = json!({ "ids": ids, "recipients": recipients });
    if receipts.iter().any(|receipt| receipt.degraded) {
        answer["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &answer)
}
