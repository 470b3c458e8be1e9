//! `GET /api/v1/users/{id}/presence`: whether a user is online, on any node.

use fanfare_core::UserId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{call::RouteCall, forms::Always},
    ApiFailure, Reply, degraded, reply,
};

/// Whether a user is online.
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

/// Whether a user is online, on any node.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/presence",
    operation_id = "presence",
    params(("id" = String, Path, description = "The user's id, percent-encoded.", min_length = 1, example = "mia")),
    responses(
        (
            status = 200,
            description = "Whether the user is online, and with how many connections.",
            body = inline(Presence<'static>),
            example = json!({ "user": "123", "online": true, "connections": 2 }),
        ),
    ),
)]
pub(in crate::http) async fn show(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let user = percent_encoding::percent_decode_str(call.segment).decode_utf8();
    let user = user.map_err(|_| "the user id in the path is not UTF-8")?;
    let user = UserId::new(&user).map_err(|bad| format!("the user id in the path: {bad}"))?;
    let found = call.site.node.presence(&user).await;
    Ok(reply::ok(&Presence {
        user: &user,
        online: found.answer > 0,
        connections: found.answer,
        degraded: degraded(found.complete),
    }))
}
