//! `GET /api/v1/users`: the users that are connected, to any node.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Always, ApiFailure, Reply, RouteCall, degraded,
    query::{Limit, names, next_name},
    reply,
};

/// A page of users.
#[derive(Serialize, ToSchema)]
struct UserPage<'a> {
    #[schema(inline)]
    users: Vec<ConnectedUser<'a>>,
    /// For the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A user, and how many connections it has.
#[derive(Serialize, ToSchema)]
struct ConnectedUser<'a> {
    id: &'a str,
    connections: u64,
}

/// The users that are connected, to any node.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    operation_id = "listUsers",
    params(
        ("prefix" = Option<String>, Query, description = "Only ids with this prefix."),
        Limit,
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(
        (
            status = 200,
            description = "A page of connections, by id.",
            body = inline(UserPage<'static>),
            example = json!({ "users": [{ "id": "123", "connections": 2 }], "next_cursor": null }),
        ),
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let names = names(call.query())?;
    let limit = names.limit;
    let found = call.site.node.online_users(names).await;
    let next_cursor = next_name(&found.answer, limit);
    let users = found.answer.iter();
    let users = users.map(|(id, &connections)| ConnectedUser { id, connections });
    Ok(reply::ok(&UserPage {
        users: users.collect(),
        next_cursor,
        degraded: degraded(found.complete),
    }))
}
