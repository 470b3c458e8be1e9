//! Authorizes the callers of the service API.

use std::{
    fmt::{self, Display},
    net::IpAddr,
    sync::Arc,
};

use fanfare_accounts::{ApiKey, KeyNeed, Scope};
use fanfare_core::UserId;
use http::{HeaderMap, HeaderName, Method, Uri, Version, header, request::Parts, uri::Authority};

use super::{Site, rejection::RouteRejection};
use crate::{
    auth::TokenError,
    refusals::{Refused, Subject},
};

/// Headers that a proxy adds. A request with such a header is not from the peer of the socket.
const PROXIED: &[&str] = &[
    "via",
    "cdn-loop",
    "cf-ray",
    "x-amz-cf-id",
    "x-amzn-trace-id",
    "x-arr-log-id",
    "x-envoy-external-address",
    "x-nginx-proxy",
    "x-original-host",
    "x-original-url",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-varnish",
];
/// Parts of the names of more such headers: `X-Forwarded-For`, `True-Client-IP`, `X-Azure-ClientIP`, `X-Real-IP`, `CF-Connecting-IP`.
const PROXIED_PARTS: &[&str] = &["forwarded", "client-ip", "clientip", "real-ip", "connecting-ip"];

const DATABASE_UNREAD: &str = "the API keys could not be read from the database yet; use a configured key or an admin's token, or try again";
pub(super) const KEYS_UNAVAILABLE: &str = "the token cannot be verified at the moment; try again";

/// An authorized caller of the service API.
pub(super) enum Caller {
    /// A key of the database.
    Key(Arc<ApiKey>),
    /// A key of the configuration.
    ConfiguredKey,
    /// An admin, by the user's id.
    Admin(UserId),
    /// A program on this machine, while no key exists.
    ThisMachine,
}

impl Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "API key {} ({})", key.id, key.name),
            Self::ConfiguredKey => f.write_str("an API key of the configuration"),
            Self::Admin(user) => write!(f, "admin {user}"),
            Self::ThisMachine => f.write_str("a program on this machine"),
        }
    }
}

/// Returns the caller if it has the scope `wanted`: by an API key, by an admin's token, or as a program on this machine while no key was
/// ever created.
pub(super) async fn authorize(
    site: &Site,
    peer: IpAddr,
    head: &Parts,
    wanted: Scope,
) -> Result<Caller, RouteRejection> {
    let headers = &head.headers;
    let accounts = &site.options.accounts;
    if let Some(offered) = bearer(headers) {
        return match accounts.api_key(offered) {
            Some(key) if key.allows(wanted) => Ok(Caller::Key(key)),
            Some(_) => Err(RouteRejection::OutOfScope(wanted)),
            None if site.rules().api_keys.hold(offered.as_bytes()) => Ok(Caller::ConfiguredKey),
            None => authorize_token(offered, site, peer, wanted).await,
        };
    }
    let page_allowed = site.options.origins.allow(headers);
    let has_no_key = site.rules().api_keys.is_open();
    let trusting = site.options.trust_loopback && has_no_key && !site.is_trusted_proxy(peer);
    if !(trusting && page_allowed && is_loopback_caller(peer, head)) {
        return Err(RouteRejection::NoKey(wanted));
    }
    match accounts.key_need() {
        KeyNeed::No => Ok(Caller::ThisMachine),
        KeyNeed::Yes => Err(RouteRejection::NoKey(wanted)),
        KeyNeed::Unknown => Err(RouteRejection::NotYet(DATABASE_UNREAD)),
    }
}

/// Returns the scope that a route needs, by its method.
pub(super) fn scope_of(method: &Method) -> Scope {
    match *method {
        Method::GET | Method::HEAD => Scope::Read,
        Method::POST => Scope::Publish,
        _ => Scope::Admin,
    }
}

/// Returns the caller of an admin's token. Any other credential is refused.
async fn authorize_token(
    offered: &str,
    site: &Site,
    peer: IpAddr,
    wanted: Scope,
) -> Result<Caller, RouteRejection> {
    match site.gate.identify(offered).await {
        Ok(identity) if identity.is_admin() => Ok(Caller::Admin(identity.user.clone())),
        Ok(_) => {
            log_refusal(site, "not_admin", &"the token has no admin role", Some(peer));
            Err(RouteRejection::NoKey(wanted))
        }
        Err(TokenError::KeysUnavailable) => Err(RouteRejection::NotYet(KEYS_UNAVAILABLE)),
        Err(error) => {
            let detail: &dyn Display = match &error {
                TokenError::Malformed => &"neither an API key nor a token",
                error => error,
            };
            log_refusal(site, "bad_credential", detail, Some(peer));
            Err(RouteRejection::NoKey(wanted))
        }
    }
}

/// Logs that the credential of a request is refused.
pub(super) fn log_refusal(site: &Site, reason: &'static str, detail: &dyn Display, peer: Option<IpAddr>) {
    site.gate.refusals.note(&Refused {
        subject: Subject::Token,
        dialect: None,
        reason,
        detail: Some(detail),
        peer,
        is_warning: false,
    });
}

/// Returns whether the caller is a program on this machine, which is trusted while no key exists, so that the first `curl` works. Pages in
/// a browser and requests through a proxy also have a loopback peer, and are not trusted.
fn is_loopback_caller(peer: IpAddr, head: &Parts) -> bool {
    let (uri, headers) = (&head.uri, &head.headers);
    let local_host = |host: &str| {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    // The request line in absolute form and every Host header must name this machine.
    let hosts = headers.get_all(header::HOST).iter();
    let hosts = hosts.map(|host| host.to_str().unwrap_or_default());
    let mut named = uri
        .authority()
        .map(Authority::as_str)
        .into_iter()
        .chain(hosts)
        .peekable();
    let is_local = |host: &str| {
        let host = host.parse::<Authority>();
        host.is_ok_and(|host| !host.as_str().contains('@') && local_host(host.host()))
    };
    let host_local = named.peek().is_some() && named.all(is_local);
    let origins_local = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        uri.and_then(|uri| uri.host().map(local_host)).unwrap_or(false)
    });
    peer.to_canonical().is_loopback()
        && host_local
        && origins_local
        // nginx uses this version for backends by default; current programs do not.
        && head.version != Version::HTTP_10
        && !headers.keys().any(is_forwarded)
}

/// Returns whether a proxy adds headers of this name.
fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    PROXIED.contains(&name) || PROXIED_PARTS.iter().any(|part| name.contains(part))
}

/// Returns the credential in the header `Authorization`, if there is one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn head(version: Version, sent: &[(&str, &str)]) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.version = version;
        for (name, value) in sent {
            let name = HeaderName::try_from(*name).expect("a name");
            head.headers
                .append(name, HeaderValue::from_str(value).expect("a value"));
        }
        head
    }

    #[test]
    fn a_request_through_a_proxy_is_no_loopback_caller() {
        let local = "127.0.0.1".parse().expect("an address");
        let host = ("host", "localhost");
        assert!(is_loopback_caller(
            local,
            &head(Version::HTTP_11, &[host, ("user-agent", "curl")])
        ));
        assert!(!is_loopback_caller(local, &head(Version::HTTP_10, &[host])));
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Forwarded-Server",
            "X-Forwarded",
            "X-Original-Forwarded-For",
            "X-Real-IP",
            "Via",
            "CF-Connecting-IP",
            "CF-Ray",
            "True-Client-IP",
            "Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "Fly-Client-IP",
            "WL-Proxy-Client-IP",
            "X-Azure-ClientIP",
            "X-Envoy-External-Address",
            "X-Originating-IP",
            "X-NginX-Proxy",
            "X-Scheme",
            "X-Varnish",
        ] {
            let head = head(Version::HTTP_11, &[host, (name, "127.0.0.1")]);
            assert!(!is_loopback_caller(local, &head), "{name}");
        }
    }

    #[test]
    fn loopback_callers() {
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(&str, Headers<'_>, bool)] = &[
            ("127.0.0.1", &[("host", "localhost:8081")], true),
            ("127.0.0.1", &[("host", "127.0.0.1:8081")], true),
            ("::1", &[("host", "[::1]:8081")], true),
            ("::ffff:127.0.0.1", &[("host", "localhost")], true),
            (
                "127.0.0.1",
                &[("host", "localhost"), ("origin", "http://localhost:3000")],
                true,
            ),
            ("192.0.2.1", &[("host", "localhost")], false),
            ("127.0.0.1", &[("host", "evil.example")], false),
            ("127.0.0.1", &[], false),
            (
                "127.0.0.1",
                &[("host", "localhost"), ("origin", "https://evil.example")],
                false,
            ),
            ("127.0.0.1", &[("host", "localhost"), ("origin", "null")], false),
            ("127.0.0.1", &[("host", "localhost.evil.example")], false),
            ("127.0.0.1", &[("host", "user@localhost")], false),
        ];
        for (peer, sent, expected) in cases {
            let peer = peer.parse().expect("an address");
            assert_eq!(
                is_loopback_caller(peer, &head(Version::HTTP_11, sent)),
                *expected,
                "{peer} {sent:?}"
            );
        }
    }
}
