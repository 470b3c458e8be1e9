//! Dispatches a request to its handler, through the rate limits, CORS, the dialects' paths, and the guards.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use fanfare_core::path_matches;
use fanfare_engine::{MountedDialect, Shard};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Decision, Site,
    accounts::Family,
    body::{self, RequestBody},
    call::{Audit, RouteCall},
    caller::{self, Caller},
    endpoints, health,
    rejection::RouteRejection,
    reply::Reply,
    routes::{self, Group, Route},
    site::{Mount, PathMatching},
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
    let (uri, headers) = (request.uri().clone(), request.headers());
    let origin = headers.get(header::ORIGIN).cloned();
    let client = site.client(peer, headers);
    let path = site.local_path(uri.path());
    let routing = Routing {
        target: path.map_or(Target::Elsewhere, |path| target(path, &site)),
        path: path.unwrap_or_default(),
        peer,
        client,
        site: &site,
        shard: &shard,
    };
    let decision = routing.limit(&request);
    let mut reply = if decision.is_some_and(|decision| decision.is_refused()) {
        site.node.counters.requests_rate_limited.fetch_add(1, Relaxed);
        routing.too_many(request).await
    } else {
        routing.route(request).await
    };
    if let Some(decision) = decision {
        decision.add_to(reply.headers_mut());
    }
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        site.options.origins.share(origin.as_ref(), &mut reply);
        // The rest of a body would be parsed as the next request, and a drain ends kept connections.
        if rest.is_unread() || site.node.is_draining() {
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
    }
    reply
}

/// The part of a listener that serves a path.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// The path is not below the listener's prefix.
    Elsewhere,
    /// A path where clients connect.
    Mount(&'a Mount),
    /// A dialect's own route.
    Dialect(&'a Arc<MountedDialect>),
    /// A row of the server's table; `None` if the path has none.
    Table(Option<&'static Route>),
}

/// Returns the target of `path`. The order is: probes, exact paths of dialects, the server's table, dialects' paths with parameters.
fn target<'a>(path: &str, site: &'a Site) -> Target<'a> {
    let route = routes::find(path);
    let matches: PathMatching = match route {
        Some(route) if route.group == Group::Probe => return Target::Table(Some(route)),
        Some(_) => |own, path| own == path,
        None => path_matches,
    };
    if let Some(mount) = site.mount(path, matches) {
        Target::Mount(mount)
    } else if let Some(mounted) = endpoints::find(site, path, matches) {
        Target::Dialect(mounted)
    } else {
        Target::Table(route)
    }
}

/// A request on its way to its handler.
struct Routing<'a> {
    target: Target<'a>,
    /// The path below the listener's prefix; empty if it is elsewhere.
    path: &'a str,
    peer: IpAddr,
    /// The client's address, found behind trusted proxies.
    client: IpAddr,
    site: &'a Arc<Site>,
    shard: &'a Rc<Shard>,
}

impl Routing<'_> {
    /// Counts the request, unless it is a probe or its kind has no limit.
    fn limit(&self, request: &Request<RequestBody>) -> Option<Decision> {
        if request.method() == Method::OPTIONS && request.uri().path() == "/" {
            return None;
        }
        let (limits, now) = (&self.site.rules().rate_limits, SystemTime::now());
        match self.target {
            Target::Table(Some(route)) if route.group == Group::Probe => None,
            Target::Mount(_) => limits.upgrade(self.client, now),
            _ => limits.request(self.client, now),
        }
    }

    /// Returns the reply to a client over its rate, in the form of the requested route.
    async fn too_many(&self, request: Request<RequestBody>) -> Reply {
        match self.target {
            Target::Mount(mount) => {
                upgrade::upgrade(request, self.client, self.site, self.shard, mount, true).await
            }
            Target::Dialect(mounted) => endpoints::reject(mounted, &RouteRejection::TooMany),
            Target::Elsewhere | Target::Table(_) => {
                routes::group_of(self.path).reject(RouteRejection::TooMany)
            }
        }
    }

    async fn route(&self, request: Request<RequestBody>) -> Reply {
        let site = self.site;
        // On every path, because a page cannot read a 404 without CORS headers.
        if is_preflight(&request) {
            self.log_forbidden_origin(request.headers());
            return site.options.origins.preflight(request.headers());
        }
        // The default health check of HAProxy.
        if request.method() == Method::OPTIONS && matches!(request.uri().path(), "/" | "*") {
            return health::options(site).await;
        }
        match self.target {
            Target::Elsewhere => Group::Page.reject(RouteRejection::NotFound),
            Target::Mount(mount) => {
                upgrade::upgrade(request, self.client, site, self.shard, mount, false).await
            }
            Target::Dialect(mounted) => endpoints::answer(request, self.path, self.peer, site, mounted).await,
            Target::Table(route) => self.handle(route, request).await,
        }
    }

    async fn handle(&self, route: Option<&'static Route>, request: Request<RequestBody>) -> Reply {
        let (head, body) = request.into_parts();
        match self.admit(route, &head).await {
            Ok((route, caller)) => {
                let call = RouteCall {
                    head,
                    body,
                    peer: self.peer,
                    client: self.client,
                    audit: Audit::new(caller, self.client),
                    site: self.site,
                    segment: route.segment(self.path).unwrap_or_default(),
                };
                (route.handler)(call).await
            }
            Err(rejection) => routes::group_of(self.path).reject(rejection),
        }
    }

    /// Returns the row of `route`'s path for the request's method, if the caller may use it now. Also returns the caller, if the route
    /// requires a credential.
    async fn admit(
        &self,
        route: Option<&'static Route>,
        head: &Parts,
    ) -> Result<(&'static Route, Option<Caller>), RouteRejection> {
        let site = self.site;
        let (group, draining) = (routes::group_of(self.path), site.node.is_draining());
        let Some(route) = route else {
            return Err(match group {
                Group::Page | Group::Service if draining => RouteRejection::Draining,
                _ => RouteRejection::NotFound,
            });
        };
        let served = route.for_method(&head.method);
        let continues = match group {
            Group::Probe | Group::Page => true,
            Group::User(Family::Messages) => served.is_err(),
            Group::User(_) | Group::Service => false,
        };
        if draining && !continues {
            return Err(RouteRejection::Draining);
        }
        let route = served?;
        let wanted = {
            let rules = site.rules();
            route.scope(rules.metrics, rules.docs, rules.admin)?
        };
        let caller = match wanted {
            Some(wanted) => Some(caller::authorize(site, self.peer, head, wanted).await?),
            None => None,
        };
        Ok((route, caller))
    }

    /// Logs a preflight from an origin that is not allowed: its browser will refuse the request.
    fn log_forbidden_origin(&self, headers: &HeaderMap) {
        if !self.site.options.origins.allow(headers) {
            let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
            self.site.gate.refusals.note(&Refused {
                subject: Subject::Request,
                dialect: None,
                reason: "forbidden_origin",
                detail: Some(&String::from_utf8_lossy(origin.unwrap_or_default())),
                peer: Some(self.client),
                is_warning: false,
            });
        }
    }
}

fn is_preflight(request: &Request<RequestBody>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
