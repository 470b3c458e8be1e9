//! Passes a request to its handler, through the rate limits, CORS, the mounts, and the guards.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use fanfare_core::path_matches;
use fanfare_engine::Shard;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Decision, Site, audit,
    body::{self, RequestBody},
    call::RouteCall,
    caller::{self, Caller},
    endpoints, health,
    rejection::RouteRejection,
    reply::Reply,
    routes::{self, Group, Route},
    site::PathMatching,
    upgrade,
};
use crate::refusals::{Refused, Subject};

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
        too_many(request, peer, &site, &shard).await
    } else {
        route(request, peer, &site, &shard).await
    };
    if let Some(decision) = decision {
        decision.add_to(reply.headers_mut());
    }
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        site.options.origins.share(origin.as_ref(), &mut reply);
        // The rest of a body would be read as the next request, and a server that stops cuts kept connections.
        if rest.is_unread() || site.node.is_draining() {
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
    }
    reply
}

/// Counts the request if its kind is limited. Probes and metrics always get a reply.
fn limit(request: &Request<RequestBody>, peer: IpAddr, site: &Site) -> Option<Decision> {
    let path = site.local_path(request.uri().path()).unwrap_or_default();
    if is_probe(path) || (request.method() == Method::OPTIONS && request.uri().path() == "/") {
        return None;
    }
    let (client, now) = (site.client(peer, request.headers()), SystemTime::now());
    let limits = &site.rules().rate_limits;
    match site.mount(path, matching(path)) {
        Some(_) => limits.upgrade(client, now),
        None => limits.request(client, now),
    }
}

/// Returns the reply to a client over its rate, in the form of the route that it called.
async fn too_many(request: Request<RequestBody>, peer: IpAddr, site: &Site, shard: &Rc<Shard>) -> Reply {
    site.node.counters.requests_rate_limited.fetch_add(1, Relaxed);
    let path = site.local_path(request.uri().path()).unwrap_or_default();
    if let Some(mount) = site.mount(path, matching(path)) {
        upgrade::upgrade(request, peer, site, shard, mount, true).await
    } else if let Some(mounted) = endpoints::find(site, path, matching(path)) {
        endpoints::reject(mounted, &RouteRejection::TooMany)
    } else {
        routes::group_of(path).reject(RouteRejection::TooMany)
    }
}

async fn route(request: Request<RequestBody>, peer: IpAddr, site: &Arc<Site>, shard: &Rc<Shard>) -> Reply {
    // On any path, because a page cannot read a 404 without CORS headers.
    if is_preflight(&request) {
        note_foreign(&request, peer, site);
        return site.options.origins.preflight(request.headers());
    }
    let uri = request.uri().clone();
    // HAProxy's default check: whether the server is ready.
    if request.method() == Method::OPTIONS && matches!(uri.path(), "/" | "*") {
        return health::options(site).await;
    }
    let Some(path) = site.local_path(uri.path()) else {
        return Group::Page.reject(RouteRejection::NotFound);
    };
    if !is_probe(path) {
        if let Some(mount) = site.mount(path, matching(path)) {
            return upgrade::upgrade(request, peer, site, shard, mount, false).await;
        }
        if let Some(mounted) = endpoints::find(site, path, matching(path)) {
            return endpoints::answer(request, path, peer, site, mounted).await;
        }
    }
    let (head, body) = request.into_parts();
    match admit(path, &head, peer, site).await {
        Ok((route, caller)) => {
            let segment = route.segment(path).unwrap_or_default();
            let client = site.client(peer, &head.headers);
            let call = RouteCall {
                head,
                body,
                peer,
                site,
                segment,
            };
            let mut reply = (route.handler)(call).await;
            if let Some(caller) = caller {
                audit::log(&mut reply, &caller, client);
            }
            reply
        }
        Err(rejection) => routes::group_of(path).reject(rejection),
    }
}

/// Returns the route at `path` for a request with this head, if the caller may use it now; and the caller, where the route asks
/// for a credential.
async fn admit(
    path: &str,
    head: &Parts,
    peer: IpAddr,
    site: &Site,
) -> Result<(&'static Route, Option<Caller>), RouteRejection> {
    let (group, draining) = (routes::group_of(path), site.node.is_draining());
    let Some(route) = routes::find(path) else {
        return Err(match group {
            Group::Page | Group::Service if draining => RouteRejection::Draining,
            _ => RouteRejection::NotFound,
        });
    };
    let served = route.for_method(&head.method);
    let serves_on = match group {
        Group::Probe | Group::Page => true,
        Group::Message => served.is_err(),
        Group::Account(_) | Group::Service => false,
    };
    if draining && !serves_on {
        return Err(RouteRejection::Draining);
    }
    let route = served?;
    let wanted = {
        let rules = site.rules();
        route.scope(rules.metrics, rules.docs, rules.admin)?
    };
    let caller = match wanted {
        Some(wanted) => Some(caller::access(site, peer, head, wanted).await?),
        None => None,
    };
    Ok((route, caller))
}

/// Returns how a dialect's paths are compared with `path`: one with parameters gives way to the server's table.
fn matching(path: &str) -> PathMatching {
    match routes::find(path) {
        Some(_) => |own, path| own == path,
        None => path_matches,
    }
}

/// Returns whether `path` is a probe or metrics. These answer during a drain, too.
fn is_probe(path: &str) -> bool {
    routes::find(path).is_some_and(|route| route.group == Group::Probe)
}

fn is_preflight(request: &Request<RequestBody>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Logs a preflight that the browser will read as a refusal.
fn note_foreign(request: &Request<RequestBody>, peer: IpAddr, site: &Site) {
    let headers = request.headers();
    if !site.options.origins.allow(headers) {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        site.gate.refusals.note(&Refused {
            subject: Subject::Request,
            dialect: None,
            reason: "forbidden_origin",
            detail: Some(&String::from_utf8_lossy(origin.unwrap_or_default())),
            peer: Some(site.client(peer, headers)),
            is_warning: false,
        });
    }
}
