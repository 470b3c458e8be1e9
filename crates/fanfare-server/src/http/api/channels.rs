//! `GET /api/v1/channels`: the channels that somebody is subscribed to by exactly that name, on any node.

use http::StatusCode;
use serde_json::{Value, json};

use super::{super::Site, Reply, invalid, query::Query, reply};

pub(super) async fn list(query: &str, site: &Site) -> Reply {
    let read =
        Query::read(query, &["limit", "cursor"]).and_then(|query| Ok((query.limit()?, query.text("cursor"))));
    let (limit, after) = match read {
        Ok(read) => read,
        Err(message) => return invalid(&message),
    };
    let found = site.node.channels(&after.unwrap_or_default(), limit).await;
    let next = found
        .answer
        .keys()
        .next_back()
        .filter(|_| found.answer.len() == limit);
    let channels: Vec<Value> = found
        .answer
        .iter()
        .map(|(name, count)| json!({ "name": name, "connections": count }))
        .collect();
    let mut body = json!({ "channels": channels, "next_cursor": next });
    if !found.complete {
        body["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &body)
}
