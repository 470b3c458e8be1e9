//! The table of the server's own routes: method, path, group, guard and handler. A dialect's own routes are its
//! `Endpoint`s.

use std::{collections::HashMap, sync::LazyLock};

use fanfare_accounts::Scope;
use futures_util::future::LocalBoxFuture;
use http::Method;

use super::{
    accounts::{
        Family::{self, Auth, Messages, Sessions},
        auth, sessions,
    },
    admin,
    api::{self, ApiFailure, channels, connections, events, history, reload, users},
    call::RouteCall,
    caller, health, messages, metrics, openapi,
    rejection::RouteRejection,
    reply::{self, Reply, embedded},
};
use crate::config::Visibility;

use Group::{Page, Probe, Service, User};
use Guard::{Admin, Descriptions, Figures, Key, Open, Operators, Reader};

/// A route of the server.
pub(super) struct Route {
    /// `GET` also serves `HEAD`.
    pub(super) method: Method,
    /// A segment `{…}` is a parameter.
    pub(super) path: &'static str,
    pub(super) group: Group,
    guard: Guard,
    pub(super) handler: Handler,
}

type Handler = for<'a> fn(RouteCall<'a>) -> LocalBoxFuture<'a, Reply>;

/// The callers of a route. A user's token is verified by the handler, because it needs the claims.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Open,
    /// `api.metrics` decides.
    Figures,
    /// `api.docs` decides.
    Descriptions,
    /// `api.admin` decides.
    Operators,
    /// A caller of the service API with the scope of the method.
    Key,
    /// A caller of the service API with the scope `read`.
    Reader,
    /// A caller of the service API with the scope `admin`.
    Admin,
}

/// The routes that share a form of rejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Probes and metrics: on every listener, without a rate limit.
    Probe,
    /// Descriptions, and unknown paths.
    Page,
    /// Of users, about their accounts and messages.
    User(Family),
    Service,
}

/// A row of the table.
macro_rules! route {
    ($method:ident $path:literal, $group:expr, $guard:expr, $handler:expr) => {
        Route {
            method: Method::$method,
            path: $path,
            group: $group,
            guard: $guard,
            handler: |call| Box::pin(($handler)(call)),
        }
    };
}

/// A row of the service API, with its form of errors.
macro_rules! service {
    ($method:ident $path:literal, $guard:expr, $handler:path) => {
        route!($method $path, Service, $guard, |call| api::answer($handler(call)))
    };
}

/// A row of users, with the form of replies of its family.
macro_rules! user {
    ($method:ident $path:literal, $family:ident, $handler:path) => {
        route!($method $path, User($family), Open, |call| $family.answer($handler(call)))
    };
}

/// The routes. A path without a parameter takes precedence; no two paths with parameters match the same request.
#[rustfmt::skip] // a route is a line
pub(super) static TABLE: &[Route] = &[
    route!(GET "/livez", Probe, Open, async |_| health::livez()),
    route!(GET "/readyz", Probe, Open, async |call: RouteCall<'_>| health::readyz(call.site).await),
    route!(GET "/health", Probe, Open, async |call: RouteCall<'_>| health::health(call.site).await),
    route!(GET "/metrics", Probe, Figures, async |call: RouteCall<'_>| metrics::metrics(call.site, call.headers())),
    route!(GET "/metrics/prometheus", Probe, Figures, async |call: RouteCall<'_>| metrics::prometheus(call.site)),
    route!(GET "/openapi.json", Page, Descriptions, async |call: RouteCall<'_>| openapi::openapi(call.site)),
    route!(GET "/asyncapi.json", Page, Descriptions, async |call: RouteCall<'_>| openapi::asyncapi(call.site)),
    route!(GET "/docs", Page, Descriptions, async |_| openapi::page::docs()),
    route!(GET "/docs/page.js", Page, Descriptions, async |_| embedded(reply::SCRIPT, include_str!("openapi/built/docs/page.js"))),
    route!(GET "/docs/page.css", Page, Descriptions, async |_| embedded(reply::STYLE, include_str!("openapi/built/docs/page.css"))),
    route!(GET "/docs/page.svg", Page, Descriptions, async |_| embedded(reply::SVG, include_str!("openapi/built/docs/page.svg"))),
    // The pages' files have addresses relative to the page's own.
    route!(GET "/docs/", Page, Descriptions, async |_| reply::moved("../docs")),
    route!(GET "/admin/", Page, Operators, async |_| reply::moved("../admin")),
    route!(GET "/admin", Page, Operators, async |_| openapi::page::admin()),
    route!(GET "/admin/app.js", Page, Operators, async |_| embedded(reply::SCRIPT, include_str!("admin/built/admin/app.js"))),
    route!(GET "/admin/app.css", Page, Operators, async |_| embedded(reply::STYLE, include_str!("admin/built/admin/app.css"))),
    route!(GET "/admin/app.svg", Page, Operators, async |_| embedded(reply::SVG, include_str!("admin/built/admin/app.svg"))),
    user!(POST "/api/auth/register", Auth, auth::register),
    user!(POST "/api/auth/login", Auth, auth::login),
    user!(POST "/api/auth/refresh", Auth, auth::refresh),
    user!(GET "/api/auth/me", Auth, auth::me),
    user!(POST "/api/auth/logout", Auth, auth::logout),
    user!(POST "/api/auth/password", Auth, auth::change),
    user!(POST "/api/auth/password/reset", Auth, auth::reset),
    user!(GET "/sessions", Sessions, sessions::list),
    user!(POST "/sessions", Sessions, sessions::create),
    user!(POST "/sessions/refresh", Sessions, sessions::refresh),
    user!(DELETE "/sessions/{session_id}", Sessions, sessions::end),
    user!(GET "/api/messages", Messages, messages::list),
    user!(POST "/api/messages", Messages, messages::create),
    service!(POST "/api/v1/events", Key, events::publish),
    service!(GET "/api/v1/users/{id}/presence", Key, users::presence),
    // Needs `admin`, because its caller can act as that user.
    service!(POST "/api/v1/users/{id}/reset-token", Admin, users::create_reset_token),
    service!(POST "/api/v1/reload", Admin, reload::start),
    service!(GET "/api/v1/connections", Key, connections::list),
    service!(GET "/api/v1/connections/{id}", Key, connections::show),
    service!(DELETE "/api/v1/connections/{id}", Key, connections::end),
    service!(GET "/api/v1/channels", Key, channels::list),
    service!(GET "/api/v1/channels/{name}/presence", Key, channels::members),
    service!(GET "/api/v1/history", Key, history::list),
    service!(GET "/api/v1/users", Key, users::list),
    service!(GET "/api/v1/overview", Key, admin::nodes::overview),
    service!(GET "/api/v1/problems", Key, admin::problems::list),
    service!(GET "/api/v1/explain", Key, admin::explain::explain),
    service!(GET "/api/v1/tail", Key, admin::tail::open),
    service!(POST "/api/v1/trace", Reader, admin::trace::arm),
    service!(GET "/api/v1/trace", Key, admin::trace::list),
    service!(GET "/api/v1/trace/{id}", Key, admin::trace::show),
    service!(DELETE "/api/v1/trace/{id}", Reader, admin::trace::disarm),
    service!(GET "/api/v1/configuration", Admin, admin::nodes::configuration),
    service!(GET "/api/v1/accounts", Admin, admin::accounts::list),
    service!(POST "/api/v1/accounts", Admin, admin::accounts::create),
    service!(PATCH "/api/v1/accounts/{id}", Admin, admin::accounts::change),
    service!(GET "/api/v1/keys", Admin, admin::keys::list),
    service!(POST "/api/v1/keys", Admin, admin::keys::create),
    service!(DELETE "/api/v1/keys/{id}", Admin, admin::keys::revoke),
];

/// The rows by path, and those with a parameter by the text before it. Built once, because each request needs it.
static INDEX: LazyLock<(HashMap<&str, &Route>, Vec<Parametrised>)> = LazyLock::new(|| {
    let plain = TABLE.iter().map(|route| (route.path, route));
    let with_parameter = |route: &'static Route| Some((route.path.split_once('{')?.0, route));
    (plain.collect(), TABLE.iter().filter_map(with_parameter).collect())
});

/// The text before the parameter of a path, and the row.
type Parametrised = (&'static str, &'static Route);

/// Returns a row whose path matches `path`, whatever its method.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    let (plain, with_parameter) = &*INDEX;
    let matches = |(before, route): &&Parametrised| path.starts_with(before) && route.segment(path).is_some();
    let parametrised = || with_parameter.iter().find(matches).map(|(_, route)| *route);
    plain.get(path).copied().or_else(parametrised)
}

/// Returns the group of `path`, which decides the form of its replies.
pub(super) fn group_of(path: &str) -> Group {
    match find(path) {
        Some(route) => route.group,
        None if path.starts_with("/api/auth/") => User(Auth),
        None if path.starts_with("/sessions/") => User(Sessions),
        None if path.starts_with("/api/") => Service,
        None => Page,
    }
}

impl Route {
    /// Returns the segment of `path` for the parameter, empty if there is none; `None` if `path` is another path.
    pub(super) fn segment<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some((before, parameter)) = self.path.split_once('{') else {
            return (path == self.path).then_some("");
        };
        let after = parameter.split_once('}').map_or("", |(_, after)| after);
        let found = path.strip_prefix(before)?.strip_suffix(after)?;
        // The service API has its own error for an empty name.
        let is_segment = !found.contains('/') && (!found.is_empty() || self.group == Service);
        is_segment.then_some(found)
    }

    /// Returns the row of the same path for `method`.
    pub(super) fn for_method(&self, method: &Method) -> Result<&'static Self, RouteRejection> {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let same_path = || TABLE.iter().filter(|route| route.path == self.path);
        same_path().find(|route| route.method == method).ok_or_else(|| {
            let methods = same_path().flat_map(|route| match route.method {
                Method::GET => vec![Method::GET, Method::HEAD],
                ref method => vec![method.clone()],
            });
            RouteRejection::WrongMethod(methods.collect())
        })
    }

    /// Returns the scope that a caller needs, given the visibility of the figures, the descriptions and the operators' page. Fails if
    /// the route is switched off.
    pub(super) fn scope(
        &self,
        metrics: Visibility,
        docs: Visibility,
        admin: Visibility,
    ) -> Result<Option<Scope>, RouteRejection> {
        let shown = |visibility| match visibility {
            Visibility::Open => Ok(None),
            Visibility::Key => Ok(Some(Scope::Read)),
            Visibility::Off => Err(RouteRejection::NotFound),
        };
        match self.guard {
            Open => Ok(None),
            Figures => shown(metrics),
            Descriptions => shown(docs),
            Operators => shown(admin),
            Key => Ok(Some(caller::scope_of(&self.method))),
            Reader => Ok(Some(Scope::Read)),
            Admin => Ok(Some(Scope::Admin)),
        }
    }
}

impl Group {
    /// Returns the reply to a request that reaches no handler.
    pub(super) fn reject(self, rejection: RouteRejection) -> Reply {
        match self {
            User(family) => family.failed(&rejection.into()),
            Probe | Page => rejection.with_headers(reply::error(rejection.status(), &rejection.to_string())),
            Service => *ApiFailure::from(rejection).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_groups() {
        for (path, route, group) in [
            ("/livez", Some("/livez"), Probe),
            ("/docs", Some("/docs"), Page),
            ("/", None, Page),
            ("/api/auth/login", Some("/api/auth/login"), User(Auth)),
            ("/api/auth/nothing", None, User(Auth)),
            ("/api/auth", None, Service),
            ("/api/authors/x", None, Service),
            ("/sessions", Some("/sessions"), User(Sessions)),
            ("/sessions/refresh", Some("/sessions/refresh"), User(Sessions)),
            ("/sessions/one", Some("/sessions/{session_id}"), User(Sessions)),
            ("/sessions/", None, User(Sessions)),
            ("/sessions/one/two", None, User(Sessions)),
            ("/sessionsx", None, Page),
            ("/api/messages", Some("/api/messages"), User(Messages)),
            ("/api/messages/1", None, Service),
            (
                "/api/v1/users//presence",
                Some("/api/v1/users/{id}/presence"),
                Service,
            ),
            ("/api/v1/connections/", Some("/api/v1/connections/{id}"), Service),
            ("/api/v1/connections/1/2", None, Service),
        ] {
            assert_eq!(find(path).map(|route| route.path), route, "{path}");
            assert_eq!(group_of(path), group, "{path}");
        }
    }

    #[test]
    fn every_row_is_found() {
        for route in TABLE {
            let called = route.path.replace(['{', '}'], "");
            assert_eq!(find(&called).map(|found| found.path), Some(route.path));
        }
    }

    #[test]
    fn methods() {
        for (path, method, expected) in [
            ("/livez", Method::HEAD, Ok("/livez")),
            ("/livez", Method::POST, Err("GET, HEAD")),
            ("/sessions", Method::PUT, Err("GET, HEAD, POST")),
            ("/sessions/refresh", Method::DELETE, Err("POST")),
        ] {
            let served = find(path).map(|route| route.for_method(&method).map(|route| route.path));
            let served = served.map(|served| {
                served.map_err(|rejection| match rejection {
                    RouteRejection::WrongMethod(methods) => {
                        methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
                    }
                    other => format!("{other:?}"),
                })
            });
            assert_eq!(served, Some(expected.map_err(str::to_owned)), "{method} {path}");
        }
    }

    #[test]
    fn guards() {
        let served = |path, method: Method| find(path)?.for_method(&method).ok();
        let scope = |path, method| {
            served(path, method)?
                .scope(Visibility::Open, Visibility::Open, Visibility::Open)
                .ok()?
        };
        assert_eq!(scope("/api/v1/events", Method::POST), Some(Scope::Publish));
        assert_eq!(scope("/api/v1/channels", Method::HEAD), Some(Scope::Read));
        assert_eq!(scope("/api/v1/connections/1", Method::DELETE), Some(Scope::Admin));
        assert_eq!(
            scope("/api/v1/users/1/reset-token", Method::POST),
            Some(Scope::Admin)
        );
        for route in TABLE {
            let is_open = scope(route.path, route.method.clone()).is_none();
            assert_eq!(is_open, route.group != Service, "{}", route.path);
            let closed = route.scope(Visibility::Key, Visibility::Off, Visibility::Off);
            let expected = match route.path {
                "/metrics" | "/metrics/prometheus" => Some(Some(Scope::Read)),
                path if path.starts_with("/docs") || path.starts_with("/admin") => None,
                path if path.ends_with("api.json") => None,
                _ => Some(scope(route.path, route.method.clone())),
            };
            assert_eq!(closed.ok(), expected, "{}", route.path);
        }
    }
}
