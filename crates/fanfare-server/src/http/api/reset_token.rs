//! `POST /api/v1/users/{id}/reset-token`: a token that resets a user's password, for the operator's own mail.

use fanfare_accounts::{AccountError, storage::StorageError};
use fanfare_core::UserId;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{call::RouteCall, forms::ApiError},
    ApiFailure, Reply, internal, reply,
};

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
pub(in crate::http) async fn create(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let user = percent_encoding::percent_decode_str(call.segment).decode_utf8();
    let user = user.ok().and_then(|user| UserId::new(&user).ok());
    let user = user.ok_or("the path names no user id")?;
    let made = call.site.options.accounts.create_reset_token(&user).await;
    let made = made.map_err(|error| match error {
        AccountError::NotFound(_) | AccountError::Storage(StorageError::Unavailable(_)) => error.into(),
        error => {
            tracing::error!(%error, "a reset token could not be made");
            internal("internal error")
        }
    })?;
    let shown = ResetToken {
        token: &made.token,
        expires_at: reply::time(made.expires_at),
    };
    let what = format!("made a token that resets the password of the account {user}");
    call.audit.changed(&what);
    Ok(reply::json(StatusCode::CREATED, &shown))
}
