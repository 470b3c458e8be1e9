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
use crate::engine::publish_once;

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
    let Some(broker) = site.node.broker().cloned() else {
        return api_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "STARTING",
            "the server is starting",
        );
    };
    // A task of its own: a caller that hangs up early must not leave ids claimed and unpublished.
    let publishing = tokio::spawn(async move { publish_once(&*broker, events).await });
    let (counts, degraded) = match publishing.await {
        Ok(Ok(published)) => published,
        Ok(Err(busy)) => return api_error(StatusCode::CONFLICT, "IN_PROGRESS", &busy.to_string()),
        Err(_) => {
            return api_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "publishing failed",
            );
        }
    };
    let mut answer = json!({ "ids": ids, "recipients": counts.iter().sum::<u64>() });
    if degraded {
        answer["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &answer)
}
