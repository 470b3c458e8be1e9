//! The API for services, `/api/v1`. A file for each resource; errors have one form: a stable code for programs, a
//! message for people.

mod channels;
mod connections;
mod events;
mod members;
mod presence;
pub(super) mod query;
mod reset_token;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use fanfare_accounts::Scope;
use http::{Method, Request, StatusCode, request::Parts};
use serde_json::json;
use utoipa::{
    IntoResponses, OpenApi,
    openapi::{RefOr, Response},
};

use super::{
    Site,
    body::RequestBody,
    caller::{self, Access},
    forms::{Always, ApiError, challenging, refusals},
    reply::{self, Reply, api_error},
};

/// This API's part of what describes the server.
#[derive(OpenApi)]
#[openapi(
    tags((
        name = "Service API",
        description = "For backends; on every listener. With no API key configured, callers on this machine need no \
                       credential.",
    )),
    paths(
        events::publish,
        presence::show,
        reset_token::create,
        connections::list,
        connections::end,
        channels::list,
        members::list
    )
)]
pub(super) struct Api;

/// What each of these routes may answer in place of what was asked for.
struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut told = challenging(refusals::<ApiError<'_>>(&[
            (400, "Something in the request is not as it must be."),
            (401, "No API key, and no admin's token."),
            (403, "The API key does not have the scope that is needed."),
            (429, "Too many requests."),
            (
                503,
                "The server is starting or stopping, or no API key was sent and the database is away since the start.",
            ),
        ]));
        if let Some(RefOr::T(unauthorized)) = told.get_mut("401")
            && let Some(content) = unauthorized.content.get_mut(reply::JSON)
        {
            let error =
                json!({ "code": "INVALID_TOKEN", "message": "an API key is required", "details": {} });
            content.example = Some(json!({ "error": error }));
        }
        told
    }
}

/// What an answer says of itself if not every node has had a part in it, or the broker was away.
fn degraded(complete: bool) -> Option<Always<true>> {
    (!complete).then_some(Always)
}

/// What there is, by the parts of its path below `/api/`.
enum Resource<'a> {
    Events,
    Presence(&'a str),
    ResetToken(&'a str),
    Connections,
    Connection(&'a str),
    Channels,
    Members(&'a str),
}

impl<'a> Resource<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["v1", "events"] => Some(Self::Events),
            ["v1", "users", user, "presence"] => Some(Self::Presence(user)),
            ["v1", "users", user, "reset-token"] => Some(Self::ResetToken(user)),
            ["v1", "connections"] => Some(Self::Connections),
            ["v1", "connections", id] => Some(Self::Connection(id)),
            ["v1", "channels"] => Some(Self::Channels),
            ["v1", "channels", name, "presence"] => Some(Self::Members(name)),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Events | Self::ResetToken(_) => &[Method::POST],
            Self::Presence(_) | Self::Connections | Self::Channels | Self::Members(_) => {
                &[Method::GET, Method::HEAD]
            }
            Self::Connection(_) => &[Method::DELETE],
        }
    }

    /// The scope that `method` needs here.
    fn scope(&self, method: &Method) -> Scope {
        match self {
            // Whoever has one can be that user.
            Self::ResetToken(_) => Scope::Admin,
            _ => caller::scope_of(method),
        }
    }
}

/// Answers a request to `path`, which is what follows `/api/`.
pub(super) async fn answer(
    path: &str,
    request: Request<RequestBody>,
    peer: IpAddr,
    site: &Arc<Site>,
) -> Reply {
    if site.node.is_draining() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return api_error(status, "SHUTTING_DOWN", "Server shutting down");
    }
    let Some(resource) = Resource::find(path) else {
        return api_error(StatusCode::NOT_FOUND, "NOT_FOUND", "not found");
    };
    let methods = resource.methods();
    if !methods.contains(request.method()) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return reply::allow(
            api_error(status, "METHOD_NOT_ALLOWED", "method not allowed"),
            methods,
        );
    }
    let (head, sent) = request.into_parts();
    let wanted = resource.scope(&head.method);
    match caller::access(site, peer, &head, wanted).await {
        Access::Granted => {}
        Access::OutOfScope => {
            let message = caller::out_of_scope(wanted);
            return api_error(StatusCode::FORBIDDEN, "FORBIDDEN", &message);
        }
        Access::Unknown => return unauthorized(),
        Access::NotYet(reason) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return reply::later(api_error(status, "STARTING", reason));
        }
    }
    match resource {
        Resource::Events => events::publish(sent, site).await,
        Resource::Presence(user) => presence::show(user, site).await,
        Resource::ResetToken(user) => reset_token::create(user, site).await,
        Resource::Connections => connections::list(query_of(&head), site).await,
        Resource::Connection(id) => connections::end(id, site).await,
        Resource::Channels => channels::list(query_of(&head), site).await,
        Resource::Members(name) => members::list(name, query_of(&head), site).await,
    }
}

fn query_of(head: &Parts) -> &str {
    head.uri.query().unwrap_or_default()
}

fn unauthorized() -> Reply {
    reply::challenge(api_error(
        StatusCode::UNAUTHORIZED,
        "INVALID_TOKEN",
        "an API key is required",
    ))
}

fn invalid(message: &str) -> Reply {
    api_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
}
