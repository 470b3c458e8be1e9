//! `GET /api/v1/connections` and `DELETE /api/v1/connections/{id}`: who is connected, on any node, and an end to that.

use std::time::{Duration, SystemTime};

use fanfare_core::timestamp;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{super::Site, Reply, api_error, invalid, query::Query, reply};
use crate::engine::{Filter, Row};

pub(super) async fn list(query: &str, site: &Site) -> Reply {
    let filter = match filter(query) {
        Ok(filter) => filter,
        Err(message) => return invalid(&message),
    };
    let limit = filter.limit;
    let found = site.node.connections(filter).await;
    let next = found.answer.last().filter(|_| found.answer.len() == limit);
    let mut body = json!({
        "connections": found.answer.iter().map(show).collect::<Vec<_>>(),
        "next_cursor": next.map(|row| row.id),
    });
    if !found.complete {
        body["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &body)
}

pub(super) async fn end(id: &str, site: &Site) -> Reply {
    let Ok(id) = id.parse::<Uuid>() else {
        return invalid("the path names no connection id");
    };
    let found = site.node.end_connection(id).await;
    match (found.answer, found.complete) {
        (true, _) => reply::text(StatusCode::NO_CONTENT, "", ""),
        (false, true) => api_error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such connection"),
        (false, false) => {
            let message = "not every node has answered; it may be on one that has not";
            api_error(StatusCode::SERVICE_UNAVAILABLE, "DEGRADED", message)
        }
    }
}

fn filter(query: &str) -> Result<Filter, String> {
    let query = Query::read(query, &["user", "dialect", "channel", "limit", "cursor"])?;
    let after = query.get("cursor").map(str::parse).transpose();
    Ok(Filter {
        dialect: query.text("dialect"),
        user: query.text("user"),
        channel: query.text("channel"),
        after: after.map_err(|_| "cursor: expected what next_cursor was".to_owned())?,
        limit: query.limit()?,
    })
}

fn show(row: &Row) -> Value {
    let opened_at = SystemTime::UNIX_EPOCH + Duration::from_millis(row.opened_at_ms);
    json!({
        "id": row.id,
        "dialect": row.dialect,
        "user": row.user,
        "name": row.name,
        "address": row.address,
        "connected_at": timestamp(opened_at).to_string(),
        "subscriptions": row.subscriptions,
    })
}
