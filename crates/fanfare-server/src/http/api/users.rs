//! `/api/v1/users`: lists the connected users, shows a user's presence, and creates tokens that reset a password.

use fanfare_core::UserId;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Always, ApiError, ApiFailure, Reply, RouteCall, degraded,
    query::{Limit, names, next_name},
    reply,
};

/// A page of users.
#[derive(Serialize, ToSchema)]
struct UserPage<'a> {
    #[schema(inline)]
    users: Vec<ConnectedUser<'a>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// A user, and the number of its connections.
#[derive(Serialize, ToSchema)]
struct ConnectedUser<'a> {
    id: &'a str,
    connections: u64,
}

/// The connected users, over all nodes.
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
            description = "A page of users, by id.",
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

/// A user's presence.
#[derive(Serialize, ToSchema)]
struct Presence<'a> {
    user: &'a str,
    online: bool,
    connections: u64,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// Returns whether a user is online, on any node.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/presence",
    operation_id = "presence",
    params(("id" = String, Path, description = "The user's id, percent-encoded.", min_length = 1, example = "mia")),
    responses(
        (
            status = 200,
            description = "The user's presence, and the number of connections.",
            body = inline(Presence<'static>),
            example = json!({ "user": "123", "online": true, "connections": 2 }),
        ),
    ),
)]
pub(in crate::http) async fn presence(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let user = user_of(&call)?;
    let found = call.site.node.presence(&user).await;
    Ok(reply::ok(&Presence {
        user: &user,
        online: found.answer > 0,
        connections: found.answer,
        degraded: degraded(found.complete),
    }))
}

/// A one-time token.
#[derive(Serialize, ToSchema)]
struct ResetToken<'a> {
    /// For `POST /api/auth/password/reset`.
    token: &'a str,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Creates a token that resets a user's password: once, within an hour. It replaces an earlier one.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/reset-token",
    operation_id = "createResetToken",
    params(("id" = String, Path, description = "The user's id, percent-encoded.", min_length = 1, example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 201, description = "Created. The token is not shown again.", body = inline(ResetToken<'static>)),
        (status = 404, description = "There is no such user.", body = ApiError<'static>),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn create_reset_token(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let user = user_of(&call)?;
    let created = call.site.options.accounts.create_reset_token(&user).await?;
    let shown = ResetToken {
        token: &created.token,
        expires_at: reply::time(created.expires_at),
    };
    let what = format!("made a token that resets the password of the account {user}");
    call.audit.changed(&what);
    Ok(reply::json(StatusCode::CREATED, &shown))
}

/// Returns the user in the path.
fn user_of(call: &RouteCall<'_>) -> Result<UserId, String> {
    UserId::new(&call.name()?).map_err(|bad| format!("the user id in the path: {bad}"))
}
