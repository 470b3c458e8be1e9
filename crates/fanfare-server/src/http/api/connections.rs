//! `GET /api/v1/connections` and `DELETE /api/v1/connections/{id}`: lists connections on any node, and ends one.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use fanfare_core::timestamp;
use fanfare_engine::{Filter, Row};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    super::{
        Site,
        forms::{Always, ApiError},
    },
    Reply, ServiceRefusals, api_error, degraded, invalid,
    query::{Limit, Query},
    reply,
};

/// A page of connections.
#[derive(Serialize, ToSchema)]
struct ConnectionPage<'a> {
    connections: Vec<Connection<'a>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<Uuid>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A connection, on any node.
#[derive(Serialize, ToSchema)]
struct Connection<'a> {
    id: Uuid,
    dialect: &'a str,
    /// The verified user.
    #[schema(required)]
    user: Option<&'a str>,
    /// The connection's name, if connections of its dialect have names.
    #[schema(required)]
    name: Option<&'a str>,
    /// The client's IP address.
    #[schema(value_type = String)]
    address: IpAddr,
    #[schema(format = DateTime)]
    connected_at: String,
    /// Channels, patterns and rooms.
    #[schema(value_type = Vec<String>)]
    subscriptions: &'a [Box<str>],
}

/// The open connections of all nodes.
#[utoipa::path(
    get,
    path = "/api/v1/connections",
    operation_id = "listConnections",
    tag = "Service API",
    params(
        ("user" = Option<String>, Query, description = "Only of this user."),
        ("dialect" = Option<String>, Query, description = "Only of this dialect."),
        ("channel" = Option<String>, Query, description = "Only with a subscription of exactly this text."),
        Limit,
        ("cursor" = Option<Uuid>, Query, description = "The next_cursor of the page before."),
    ),
    responses(
        (
            status = 200,
            description = "A page of them, by id.",
            body = inline(ConnectionPage<'static>),
            example = json!({
                "connections": [{
                    "id": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
                    "dialect": "notify",
                    "user": "123",
                    "name": null,
                    "address": "192.0.2.7",
                    "connected_at": "2026-01-02T03:04:05.678Z",
                    "subscriptions": [],
                }],
                "next_cursor": null,
            }),
        ),
        ServiceRefusals,
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(in crate::http) async fn list(query: &str, site: &Site) -> Reply {
    let filter = match filter(query) {
        Ok(filter) => filter,
        Err(message) => return invalid(&message),
    };
    let limit = filter.limit;
    let found = site.node.connections(filter).await;
    let next = found.answer.last().filter(|_| found.answer.len() == limit);
    let page = ConnectionPage {
        connections: found.answer.iter().map(Connection::of).collect(),
        next_cursor: next.map(|row| row.id),
        degraded: degraded(found.complete),
    };
    reply::json(StatusCode::OK, &page)
}

/// Ends a connection, on any node.
#[utoipa::path(
    delete,
    path = "/api/v1/connections/{id}",
    operation_id = "endConnection",
    tag = "Service API",
    params(("id" = Uuid, Path, description = "The connection's id.")),
    responses(
        (status = 204, description = "It was closed with 1008 and the reason: closed by an administrator."),
        ServiceRefusals,
        (status = 404, description = "There is no such connection.", body = ApiError<'static>),
        (
            status = 503,
            description = "Not every node has answered, so it may be on one that has not; or the server is stopping.",
            body = ApiError<'static>,
            headers(("Retry-After" = u64, description = "When to ask again, in seconds, if it is known.")),
        ),
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(in crate::http) async fn end(id: &str, site: &Site) -> Reply {
    let Ok(id) = id.parse::<Uuid>() else {
        return invalid("the connection id in the path is not a UUID");
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

impl<'a> Connection<'a> {
    fn of(row: &'a Row) -> Self {
        let opened_at = SystemTime::UNIX_EPOCH + Duration::from_millis(row.opened_at_ms);
        Self {
            id: row.id,
            dialect: &row.dialect,
            user: row.user.as_deref(),
            name: row.name.as_deref(),
            address: row.address,
            connected_at: timestamp(opened_at).to_string(),
            subscriptions: &row.subscriptions,
        }
    }
}
