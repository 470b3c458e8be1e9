//! `/api/auth/logout` and `/api/auth/password…`: the end of a session, and changes of the password.

use fanfare_accounts::PasswordChange;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{
        call::RouteCall,
        forms::{FailedError, Success},
        reply::Reply,
    },
    Failure,
    auth::succeeded,
};

/// A success without data.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {}

/// Ends the session of the access token: its tokens are refused on every node, its connections are closed.
#[utoipa::path(
    post,
    path = "/api/auth/logout",
    responses(
        (status = 200, description = "Logged out.", body = inline(Success<Done>)),
        (status = 404, description = "The token belongs to no session of this server.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn logout(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let proved = super::prove(call.headers(), call.site).await?;
    super::end_own(&proved, call.site).await?;
    Ok(succeeded(StatusCode::OK, Done {}))
}

/// A change of the user's own password.
// `change` reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    current_password: &'a str,
    /// 8 to 1,024 bytes.
    // The schema counts characters, of which two may have eight bytes.
    #[schema(min_length = 2, max_length = 1024)]
    new_password: &'a str,
}

/// Changes the password. The user's other sessions end.
#[utoipa::path(
    post,
    path = "/api/auth/password",
    request_body(
        content = inline(Change<'static>),
        example = json!({ "currentPassword": "correct horse battery", "newPassword": "staple of another horse" }),
    ),
    responses(
        (status = 200, description = "Changed.", body = inline(Success<Done>)),
        (status = 403, description = "The current password is wrong.", body = FailedError<'static>),
        (status = 404, description = "The token's user has no account here.", body = FailedError<'static>),
        (
            status = 503,
            description = "The server is stopping, the database is unavailable, or too many passwords wait to be hashed.",
            body = FailedError<'static>,
            headers(("Retry-After" = u64, description = "After how many seconds to repeat the request; absent if that is unknown.")),
        ),
    ),
    security(("bearer" = [])),
)]
pub(in crate::http) async fn change(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let proved = super::prove(&call.head.headers, call.site).await?;
    let current = fields.text("currentPassword")?.to_owned();
    let new = fields.text("newPassword")?.to_owned();
    super::ending(call.site, move |accounts| async move {
        let change = PasswordChange {
            user_id: &proved.user,
            session: proved.session.as_deref(),
            current: &current,
            new: &new,
            client: Some(client),
        };
        accounts.change_password(change).await
    })
    .await?;
    Ok(succeeded(StatusCode::OK, Done {}))
}

/// A reset of a password.
// `reset` reads it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reset<'a> {
    token: &'a str,
    /// 8 to 1,024 bytes.
    #[schema(min_length = 2, max_length = 1024)]
    new_password: &'a str,
}

/// Resets a password with a one-time token. All sessions of its user end.
#[utoipa::path(
    post,
    path = "/api/auth/password/reset",
    request_body(
        content = inline(Reset<'static>),
        example = json!({ "token": "…", "newPassword": "staple of another horse" }),
    ),
    responses(
        (status = 200, description = "Reset. The user logs in with the new password.", body = inline(Success<Done>)),
    ),
)]
pub(in crate::http) async fn reset(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let client = call.client;
    let fields = super::read(call.body, call.site).await?;
    let token = fields.text("token")?.to_owned();
    let new = fields.text("newPassword")?.to_owned();
    super::ending(call.site, move |accounts| async move {
        accounts.reset_password(&token, &new, Some(client)).await
    })
    .await?;
    Ok(succeeded(StatusCode::OK, Done {}))
}
