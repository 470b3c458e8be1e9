//! What operators ask of all nodes: figures, problems, the configuration, users and accounts, why something is allowed. The
//! page at `/admin` and `fanfare top` are made of these answers.

pub(super) mod accounts;
pub(super) mod configuration;
pub(super) mod explain;
pub(super) mod keys;
pub(super) mod overview;
pub(super) mod page;
pub(super) mod problems;
pub(super) mod tail;
pub(super) mod trace;
mod traced;
pub(super) mod users;
mod verdict;

use fanfare_accounts::AccountError;
use fanfare_core::JsonMap;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::OpenApi;

use super::{
    api::{ServiceRefusals, degraded, invalid, query},
    audit,
    body::{self, RequestBody},
    forms::{Always, ApiError},
    reply::{self, Reply, api_error},
    site::Site,
};

/// This API's part of what describes the server.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Operations", description = "For operators: the same callers as the service API.")),
    paths(
        page::page,
        overview::show,
        problems::list,
        configuration::show,
        explain::explain,
        tail::open,
        trace::arm,
        trace::list,
        trace::show,
        trace::disarm,
        users::list,
        accounts::list,
        accounts::create,
        accounts::change,
        keys::list,
        keys::create,
        keys::revoke
    )
)]
pub(super) struct OperatorsApi;

/// Bytes in the body of a request here.
const MAX_BODY: usize = 64 << 10;

/// Reads a request's body as `T`.
async fn read<T: DeserializeOwned>(sent: RequestBody, site: &Site) -> Result<T, Reply> {
    let body = body::read_within(MAX_BODY, sent, site)
        .await
        .map_err(|unread| api_error(unread.status(), "INVALID_REQUEST", &unread.message()))?;
    // Serde would take a list for a struct.
    let object = serde_json::from_slice::<JsonMap>(&body.bytes);
    match object.and_then(|object| T::deserialize(Value::Object(object))) {
        Ok(read) => Ok(read),
        Err(error) => Err(match body.not_json().await {
            Some(unread) => api_error(unread.status(), "INVALID_REQUEST", &unread.message()),
            None => invalid(&error.to_string()),
        }),
    }
}

/// The answer where accounts could not do what was asked.
fn failed(error: &AccountError) -> Reply {
    match error {
        AccountError::Bad { field, issue } => invalid(&format!("{field}: {issue}")),
        AccountError::Taken => api_error(
            StatusCode::CONFLICT,
            "TAKEN",
            "the address has an account already",
        ),
        AccountError::NotFound(what) => api_error(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            &format!("there is no such {what}"),
        ),
        AccountError::Busy => reply::later(unavailable("too many passwords are being hashed; try again")),
        AccountError::Storage(error) if error.is_outage() => {
            reply::later(unavailable("accounts are not available at the moment"))
        }
        error => {
            tracing::error!(%error, "accounts could not do what an operator asked");
            api_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "internal error",
            )
        }
    }
}

fn unavailable(message: &str) -> Reply {
    api_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
}
