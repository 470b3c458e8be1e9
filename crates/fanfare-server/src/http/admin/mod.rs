//! The operators' routes, behind the page at `/admin` and `fanfare top`: figures, problems and configuration of all nodes, explanations,
//! tails, traces, accounts and keys.

pub(super) mod accounts;
pub(super) mod explain;
pub(super) mod keys;
pub(super) mod nodes;
pub(super) mod problems;
pub(super) mod tail;
pub(super) mod trace;
mod traced;
mod verdict;

use fanfare_core::JsonMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::OpenApi;

use super::{
    api::{ApiFailure, degraded, not_found, query, unavailable},
    body::{self, RequestBody},
    call::RouteCall,
    forms::{Always, ApiError},
    reply::{self, Reply, api_error},
    site::Site,
};

/// These routes' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((name = "Operations", description = "For operators: the same callers as the service API.")),
    paths(
        nodes::overview,
        problems::list,
        nodes::configuration,
        explain::explain,
        tail::open,
        trace::arm,
        trace::list,
        trace::show,
        trace::disarm,
        super::api::users::list,
        accounts::list,
        accounts::create,
        accounts::change,
        keys::list,
        keys::create,
        keys::revoke
    )
)]
pub(super) struct OperatorsApi;

/// The longest body, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Reads a body, a JSON object.
async fn read<T: DeserializeOwned>(sent: RequestBody, site: &Site) -> Result<T, ApiFailure> {
    let body = body::read_within(MAX_BODY, sent, site).await?;
    // Serde would also accept a list as a struct.
    let object = serde_json::from_slice::<JsonMap>(&body.bytes);
    match object.and_then(|object| T::deserialize(Value::Object(object))) {
        Ok(read) => Ok(read),
        Err(error) => Err(body.explain(error.to_string().into()).await),
    }
}
