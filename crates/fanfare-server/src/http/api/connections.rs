//! `/api/v1/connections`: lists the connections of all nodes, shows one, and ends one.

use std::{net::IpAddr, time::Duration};

use fanfare_engine::{Filter, Row, RowDetail, RowPage};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Always, ApiError, ApiFailure, Reply, RouteCall, api_error, degraded,
    query::{Limit, Query},
    reply,
};

/// The order of connections.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it is only described")]
enum ConnectionOrder {
    Id,
    Queued,
}

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
pub(in crate::http) struct Connection<'a> {
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
    /// Details; absent in a list without `details=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    details: Option<ConnectionDetail<'a>>,
}

/// The details of a connection.
#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct ConnectionDetail<'a> {
    /// The node of the connection.
    node: Uuid,
    /// Messages in its queue.
    queued: usize,
    /// Their bytes.
    queued_bytes: usize,
    /// The number of its subscriptions, including those that are not listed.
    subscription_count: usize,
    #[schema(required)]
    user_agent: Option<&'a str>,
    /// Seconds since the client last sent something.
    silent_seconds: f64,
    /// The end of its token; null if it has none, or one that does not expire.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    /// Whether its token has expired: it receives no events until the client sends a new one.
    paused: bool,
    /// Whether it receives the events for its user.
    gets_user: bool,
    /// Whether it receives the events for everyone.
    gets_everyone: bool,
    /// Whether messages are compressed.
    compressed: bool,
}

/// The open connections of all nodes.
#[utoipa::path(
    get,
    path = "/api/v1/connections",
    operation_id = "listConnections",
    params(
        ("user" = Option<String>, Query, description = "Only connections of this user."),
        ("dialect" = Option<String>, Query, description = "Only connections of this dialect."),
        ("channel" = Option<String>, Query, description = "Only connections with a subscription of exactly this text."),
        (
            "covers" = Option<String>,
            Query,
            description = "Only connections that receive this channel: with a subscription to it, or to a pattern that matches it.",
        ),
        ("address" = Option<String>, Query, description = "Only connections from this IP address."),
        (
            "sort" = inline(Option<ConnectionOrder>),
            Query,
            description = "`id`: by id, in pages. `queued`: one page of the connections with the most waiting messages.",
        ),
        ("details" = Option<bool>, Query, description = "`true` adds the details of each."),
        (
            "subscriptions" = Option<usize>,
            Query,
            description = "The most subscriptions to list of each connection.",
        ),
        Limit,
        ("cursor" = Option<Uuid>, Query, description = "The next_cursor of the page before."),
    ),
    responses(
        (
            status = 200,
            description = "A page of connections, by id.",
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
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let (filter, details) = read(call.query())?;
    let (limit, by_queue) = (filter.limit, filter.by_queue);
    let found = call.site.node.connections(filter).await;
    let RowPage { rows, more } = &found.answer;
    let has_next = (*more || rows.len() == limit) && !by_queue;
    let next = rows.last().filter(|_| has_next);
    let form = if details { Connection::full } else { Connection::of };
    Ok(reply::ok(&ConnectionPage {
        connections: rows.iter().map(form).collect(),
        next_cursor: next.map(|row| row.id),
        degraded: degraded(found.complete),
    }))
}

/// One open connection, with all details.
#[utoipa::path(
    get,
    path = "/api/v1/connections/{id}",
    operation_id = "showConnection",
    params(("id" = Uuid, Path, description = "The connection's id.", example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 200, description = "The connection, with all details.", body = Connection<'static>),
        (status = 404, description = "There is no such connection.", body = ApiError<'static>),
        (
            status = 503,
            description = "A node that did not answer may have the connection; or the server is stopping.",
            body = ApiError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request; absent if that is unknown.")),
        ),
    ),
)]
pub(in crate::http) async fn show(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let id = call.id()?;
    let filter = Filter {
        id: Some(id),
        limit: 1,
        ..Filter::default()
    };
    let found = call.site.node.connections(filter).await;
    let row = found.answer.rows.first();
    let row = row.ok_or_else(|| not_found(found.complete))?;
    Ok(reply::ok(&Connection::full(row)))
}

/// Ends a connection, on any node.
#[utoipa::path(
    delete,
    path = "/api/v1/connections/{id}",
    operation_id = "endConnection",
    params(("id" = Uuid, Path, description = "The connection's id.", example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 204, description = "The connection was closed with 1008 `closed by an administrator`."),
        (status = 404, description = "There is no such connection.", body = ApiError<'static>),
        (
            status = 503,
            description = "A node that did not answer may have the connection; or the server is stopping.",
            body = ApiError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request; absent if that is unknown.")),
        ),
    ),
)]
pub(in crate::http) async fn end(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let id = call.id()?;
    let found = call.site.node.end_connection(id).await;
    if !found.answer {
        return Err(not_found(found.complete));
    }
    call.audit.changed(&format!("closed the connection {id}"));
    Ok(reply::no_content())
}

/// Returns the reply if no node that has answered has the connection.
fn not_found(complete: bool) -> ApiFailure {
    if complete {
        return super::not_found("there is no such connection");
    }
    let message = "not every node has answered; it may be on one that has not";
    api_error(StatusCode::SERVICE_UNAVAILABLE, "DEGRADED", message).into()
}

/// Reads the query of a list: the filter, and the flag `details`.
fn read(query: &str) -> Result<(Filter, bool), String> {
    const KNOWN: [&str; 10] = [
        "user",
        "dialect",
        "channel",
        "covers",
        "address",
        "sort",
        "details",
        "subscriptions",
        "limit",
        "cursor",
    ];
    let query = Query::read(query, &KNOWN)?;
    let by_queue = match query.get("sort") {
        None | Some("id") => false,
        Some("queued") if query.get("cursor").is_none() => true,
        Some("queued") => return Err("cursor: a list sorted by queued has one page".to_owned()),
        Some(_) => return Err("sort: expected id or queued".to_owned()),
    };
    let filter = Filter {
        id: None,
        dialect: query.text("dialect"),
        user: query.text("user"),
        channel: query.text("channel"),
        covers: query.text("covers"),
        address: query.parsed("address", "expected an IP address")?,
        by_queue,
        subscriptions: query.parsed("subscriptions", "expected a number")?,
        after: query.parsed("cursor", "expected a next_cursor")?,
        limit: query.limit()?,
    };
    let details = query.parsed("details", "expected true or false")?;
    Ok((filter, details.unwrap_or(false)))
}

impl<'a> Connection<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            id: row.id,
            dialect: &row.dialect,
            user: row.user.as_deref(),
            name: row.name.as_deref(),
            address: row.address,
            connected_at: reply::time_since_1970(Duration::from_millis(row.opened_at_ms)),
            subscriptions: &row.subscriptions,
            details: None,
        }
    }

    /// Returns a connection with its details.
    pub(in crate::http) fn full(row: &'a Row) -> Self {
        Self {
            details: Some(ConnectionDetail::of(&row.detail)),
            ..Self::of(row)
        }
    }
}

impl<'a> ConnectionDetail<'a> {
    fn of(detail: &'a RowDetail) -> Self {
        let expires_at = detail.expires_at_ms.map(Duration::from_millis);
        Self {
            node: detail.node,
            queued: detail.queued,
            queued_bytes: detail.queued_bytes,
            subscription_count: detail.subscription_count,
            user_agent: detail.user_agent.as_deref(),
            silent_seconds: Duration::from_millis(detail.silent_ms).as_secs_f64(),
            expires_at: expires_at.map(reply::time_since_1970),
            paused: detail.paused,
            gets_user: detail.gets_user,
            gets_everyone: detail.gets_everyone,
            compressed: detail.compressed,
        }
    }
}
