//! `POST /api/v1/users/{id}/reset-token`: a token that resets a user's password, for the operator's own mail.

use fanfare_accounts::{AccountError, storage::time_of};
use fanfare_core::{UserId, timestamp};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{Site, audit, forms::ApiError},
    Reply, ServiceRefusals, api_error, invalid, reply,
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
    tag = "Service API",
    params(("id" = String, Path, description = "The user's id, percent-encoded.", min_length = 1, example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 201, description = "Created. The token is not shown again.", body = inline(ResetToken<'static>)),
        ServiceRefusals,
        (status = 404, description = "There is no such user.", body = ApiError<'static>),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
    security(("apiKey" = []), ("bearer" = []), ()),
)]
pub(in crate::http) async fn create(user: &str, site: &Site) -> Reply {
    let decoded = percent_encoding::percent_decode_str(user).decode_utf8();
    let Some(user) = decoded.ok().and_then(|user| UserId::new(&user).ok()) else {
        return invalid("the path names no user id");
    };
    match site.options.accounts.create_reset_token(&user).await {
        Ok(made) => {
            let made = ResetToken {
                token: &made.token,
                expires_at: timestamp(time_of(made.expires_at)).to_string(),
            };
            let what = format!("made a token that resets the password of the account {user}");
            audit::changed(reply::json(StatusCode::CREATED, &made), what)
        }
        Err(AccountError::NotFound(_)) => {
            api_error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such user")
        }
        Err(AccountError::Storage(error)) if error.is_outage() => {
            let message = "accounts are not available at the moment";
            reply::later(api_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message))
        }
        Err(error) => {
            tracing::error!(%error, "a reset token could not be made");
            api_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "internal error",
            )
        }
    }
}
