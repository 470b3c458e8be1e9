//! The service API, `/api/v1`: a file for each resource. Errors have one form: a stable code for programs, and a message for people.

pub(super) mod channels;
pub(super) mod connections;
pub(super) mod events;
pub(super) mod history;
pub(super) mod query;
pub(super) mod reload;
pub(super) mod users;

use fanfare_accounts::AccountError;
use http::StatusCode;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{self, RefOr, security::SecurityRequirement},
};

use super::{
    bad_body::BadBody,
    body,
    call::RouteCall,
    described::{self, Refusals},
    forms::{Always, ApiError},
    headers::traceparent,
    rejection::RouteRejection,
    reply::{self, Reply, api_error},
};

/// This API's part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(
    tags((
        name = "Service API",
        description = "For backends; on every listener. With no API key configured, callers on this machine need no \
                       credential.",
    )),
    paths(
        events::publish,
        users::presence,
        users::create_reset_token,
        reload::start,
        connections::list,
        connections::show,
        connections::end,
        channels::list,
        history::list,
        channels::members
    )
)]
pub(super) struct ServiceApi;

/// The refusals of each of these routes.
const REFUSALS: Refusals = &[
    (400, "The request is invalid; the message names the field."),
    (401, "The API key or the admin's token is missing or invalid."),
    (403, "The API key does not have the required scope."),
    (429, "Too many requests."),
    (
        503,
        "The server is starting or stopping; or the caller sent no API key, and the database has been unavailable since the start.",
    ),
];

/// Returns the description of the group `G`, whose routes all require the same credentials.
pub(super) fn described<G: OpenApi>() -> openapi::OpenApi {
    let mut group = described::described::<G, ApiError<'_>>(REFUSALS, &[], &[]);
    let message = "an API key with the scope read is required";
    let error = json!({ "code": "INVALID_TOKEN", "message": message, "details": {} });
    for operation in described::operations(&mut group) {
        let credentials = ["apiKey", "bearer"].map(|name| SecurityRequirement::new(name, [""; 0]));
        let none = [SecurityRequirement::default()];
        operation.security = Some(credentials.into_iter().chain(none).collect());
        if let Some(RefOr::T(refused)) = operation.responses.responses.get_mut("401")
            && let Some(content) = refused.content.get_mut(reply::JSON)
        {
            content.example = Some(json!({ "error": error }));
        }
    }
    group
}

/// Returns the field `degraded` of a reply.
pub(super) fn degraded(complete: bool) -> Option<Always<true>> {
    (!complete).then_some(Always)
}

/// The reply to a request that fails. A text becomes a 400.
pub(super) struct ApiFailure(pub(super) Box<Reply>);

/// Returns the reply of a handler, whether it succeeds or fails.
pub(super) async fn answer(handling: impl Future<Output = Result<Reply, ApiFailure>>) -> Reply {
    handling.await.unwrap_or_else(|ApiFailure(reply)| *reply)
}

impl From<Reply> for ApiFailure {
    fn from(reply: Reply) -> Self {
        Self(Box::new(reply))
    }
}

impl From<&str> for ApiFailure {
    fn from(message: &str) -> Self {
        api_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message).into()
    }
}

impl From<String> for ApiFailure {
    fn from(message: String) -> Self {
        Self::from(&*message)
    }
}

impl From<RouteRejection> for ApiFailure {
    fn from(rejection: RouteRejection) -> Self {
        let reply = api_error(rejection.status(), rejection.code(), &rejection.to_string());
        rejection.with_headers(reply).into()
    }
}

impl From<BadBody> for ApiFailure {
    fn from(bad: BadBody) -> Self {
        api_error(bad.status, "INVALID_REQUEST", &bad.message).into()
    }
}

impl From<AccountError> for ApiFailure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Bad { field, issue } => format!("{field}: {issue}").into(),
            AccountError::Taken => {
                let message = "the address has an account already";
                api_error(StatusCode::CONFLICT, "TAKEN", message).into()
            }
            AccountError::NotFound(what) => not_found(&format!("there is no such {what}")),
            AccountError::Busy => unavailable("too many passwords are being hashed; try again"),
            AccountError::Storage(error) if error.is_outage() => {
                unavailable("the database is not available at the moment")
            }
            error => {
                tracing::error!(%error, "a request about accounts failed");
                internal("internal error")
            }
        }
    }
}

pub(super) fn not_found(message: &str) -> ApiFailure {
    api_error(StatusCode::NOT_FOUND, "NOT_FOUND", message).into()
}

pub(super) fn unavailable(message: &str) -> ApiFailure {
    reply::retry_later(api_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)).into()
}

fn internal(message: &str) -> ApiFailure {
    api_error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message).into()
}
