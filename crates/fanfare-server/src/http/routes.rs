//! Which path leads where.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;

use super::{
    Decision, Site, accounts, api,
    body::{self, RequestBody},
    endpoints, health, messages, metrics, openapi,
    reply::{self, Reply},
    upgrade,
};
use crate::{
    engine::Shard,
    refusals::{Refused, Subject},
};

/// The methods of the routes that only tell.
const READ: &[Method] = &[Method::GET, Method::HEAD];

/// The probes and the figures.
const UNLIMITED: &[&str] = &["/livez", "/readyz", "/health", "/metrics", "/metrics/prometheus"];

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    peer: IpAddr,
    site: Arc<Site>,
    shard: Rc<Shard>,
) -> Reply {
    let (request, rest) = body::watched(request);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let decision = limit(&request, peer, &site);
    let mut reply = if decision.is_some_and(|decision| decision.is_refused()) {
        too_many(request, peer, &site)
    } else {
        route(request, peer, &site, &shard).await
    };
    if let Some(decision) = decision {
        decision.tell(reply.headers_mut());
    }
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        site.options.origins.share(origin.as_ref(), &mut reply);
        // What is left of a body would be read as the next request, and a server that stops cuts what is kept.
        if rest.is_unread() || site.node.is_draining() {
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
    }
    reply
}

/// Counts the request where its kind is limited. Who watches the server must always get an answer.
fn limit(request: &Request<RequestBody>, peer: IpAddr, site: &Site) -> Option<Decision> {
    let path = site.local_path(request.uri().path()).unwrap_or_default();
    if UNLIMITED.contains(&path) || (request.method() == Method::OPTIONS && request.uri().path() == "/") {
        return None;
    }
    let (client, now) = (site.client(peer, request.headers()), SystemTime::now());
    let limits = &site.options.rate_limits;
    match site.mount(path) {
        Some(_) => limits.upgrade(client, now),
        None => limits.request(client, now),
    }
}

/// The answer to a client that comes too often, in the form of the route that it called.
fn too_many(request: Request<RequestBody>, peer: IpAddr, site: &Site) -> Reply {
    const STATUS: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    const MESSAGE: &str = "too many requests";
    site.node.counters.requests_rate_limited.fetch_add(1, Relaxed);
    let path = site.local_path(request.uri().path()).unwrap_or_default();
    if let Some(mount) = site.mount(path) {
        upgrade::turn_back(request, peer, site, mount)
    } else if let Some(mounted) = endpoints::find(site, path) {
        reply::failed(mounted, STATUS, MESSAGE)
    } else if let Some(family) = accounts::find(path) {
        family.too_many()
    } else if path == messages::PATH {
        messages::failed(STATUS, MESSAGE)
    } else if path.starts_with("/api/") {
        reply::api_error(STATUS, "RATE_LIMITED", MESSAGE)
    } else {
        reply::error(STATUS, MESSAGE)
    }
}

async fn route(request: Request<RequestBody>, peer: IpAddr, site: &Arc<Site>, shard: &Rc<Shard>) -> Reply {
    // On any path: a page cannot even read that there is nothing without it.
    if is_preflight(&request) {
        note_foreign(&request, peer, site);
        return site.options.origins.preflight(request.headers());
    }
    let uri = request.uri().clone();
    // What HAProxy asks unless it is told otherwise: whether the server is ready.
    if request.method() == Method::OPTIONS && matches!(uri.path(), "/" | "*") {
        return health::options(site).await;
    }
    let Some(path) = site.local_path(uri.path()) else {
        return not_found();
    };
    // Probes and figures answer even while the server drains.
    match path {
        "/livez" => {
            return allowing(READ, &request, health::livez);
        }
        "/readyz" => {
            return if reads(&request) {
                health::readyz(site).await
            } else {
                wrong_method(READ)
            };
        }
        "/health" => {
            return if reads(&request) {
                health::health(site).await
            } else {
                wrong_method(READ)
            };
        }
        "/metrics" => return allowing(READ, &request, || metrics::metrics(site, request.headers())),
        "/metrics/prometheus" => return allowing(READ, &request, || metrics::prometheus(site)),
        _ => {}
    }
    if let Some(mount) = site.mount(path) {
        return upgrade::upgrade(request, peer, site, shard, mount).await;
    }
    if let Some(mounted) = endpoints::find(site, path) {
        return endpoints::answer(request, path, peer, site, mounted).await;
    }
    if let Some(show) = openapi::find(path) {
        return allowing(READ, &request, || show(site));
    }
    if let Some(family) = accounts::find(path) {
        return family.answer(path, request, peer, site).await;
    }
    if path == messages::PATH {
        return messages::answer(request, site).await;
    }
    match path.strip_prefix("/api/") {
        Some(path) => api::answer(path, request, peer, site).await,
        None if site.node.is_draining() => {
            reply::error(StatusCode::SERVICE_UNAVAILABLE, "Server shutting down")
        }
        None => not_found(),
    }
}

fn reads(request: &Request<RequestBody>) -> bool {
    READ.contains(request.method())
}

fn allowing(methods: &[Method], request: &Request<RequestBody>, answer: impl FnOnce() -> Reply) -> Reply {
    if methods.contains(request.method()) {
        answer()
    } else {
        wrong_method(methods)
    }
}

fn not_found() -> Reply {
    reply::error(StatusCode::NOT_FOUND, "not found")
}

fn wrong_method(allowed: &[Method]) -> Reply {
    reply::allow(
        reply::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
        allowed,
    )
}

fn is_preflight(request: &Request<RequestBody>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Logs a preflight that the browser will take as a no.
fn note_foreign(request: &Request<RequestBody>, peer: IpAddr, site: &Site) {
    let headers = request.headers();
    if !site.options.origins.allow(headers) {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        site.node.refusals.note(&Refused {
            subject: Subject::Request,
            dialect: None,
            reason: "forbidden_origin",
            detail: Some(&String::from_utf8_lossy(origin.unwrap_or_default())),
            peer: Some(site.client(peer, headers)),
            is_warning: false,
        });
    }
}
