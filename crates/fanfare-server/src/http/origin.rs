//! The origins of web pages that may connect and call (RFC 6454).

use http::{HeaderMap, HeaderValue, header};

use super::{
    rate_limit,
    reply::{self, Reply},
};
use crate::web_origin::canonical_origin;

/// The allowed origins, each in its canonical form, or `*`.
#[derive(Debug, Clone)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Returns the rule that allows these origins; `*` allows all.
    pub fn new(allowed: &[String]) -> Self {
        let canonical = |origin: &String| match &**origin {
            "*" => Some("*".to_owned()),
            origin => canonical_origin(origin),
        };
        Self(allowed.iter().filter_map(canonical).collect())
    }

    /// Returns whether a request with these headers is allowed. A request without `Origin` is not from a web page.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.allows(origin),
            (Some(_), Some(_)) => false,
        }
    }

    /// Adds the CORS headers that let an allowed page read `reply`.
    pub(super) fn share(&self, origin: Option<&HeaderValue>, reply: &mut Reply) {
        let headers = reply.headers_mut();
        if self.all() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        rate_limit::expose(headers);
    }

    /// Returns the reply to a browser's preflight, which allows every requested header. [`AllowedOrigins::share`] adds the allowed origin.
    pub(super) fn preflight(&self, asked: &HeaderMap) -> Reply {
        let mut reply = reply::no_content();
        let headers = reply.headers_mut();
        let varies = HeaderValue::from_static("Access-Control-Request-Headers");
        headers.append(header::VARY, varies);
        if asked.get(header::ORIGIN).is_none_or(|origin| self.allows(origin)) {
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, DELETE"),
                (header::ACCESS_CONTROL_MAX_AGE, "600"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            for wanted in asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            }
        }
        reply
    }

    fn all(&self) -> bool {
        self.0.iter().any(|allowed| allowed == "*")
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let is_listed = |origin: &str| self.0.iter().any(|allowed| allowed == origin);
        let Ok(origin) = origin.to_str() else {
            return self.all();
        };
        self.all() || is_listed(origin) || canonical_origin(origin).is_some_and(|origin| is_listed(&origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let cases: &[(&[&str], &[&str], bool)] = &[
            (&["*"], &["https://any.example"], true),
            (&["*"], &[], true),
            (&["https://a.example"], &[], true),
            (&["https://a.example"], &["https://a.example"], true),
            (&["https://a.example/"], &["https://A.example"], true),
            (&["https://a.example"], &["https://a.example.evil"], false),
            (&["https://a.example"], &["http://a.example"], false),
            (&["https://a.example"], &["https://a.example:444"], false),
            (&["https://a.example"], &["null"], false),
            (&["https://a.example:443"], &["https://a.example"], true),
            (&["HTTP://A.Example:80"], &["http://a.example"], true),
            (&["http://a.example:443"], &["http://a.example"], false),
            (&["https://a.example"], &["https://a.example:443"], true),
            (&["http://[::1]:8080"], &["http://[0:0::1]:8080"], true),
            (
                &["https://b\u{fc}cher.example"],
                &["https://xn--bcher-kva.example"],
                true,
            ),
            (&["capacitor://localhost"], &["capacitor://localhost"], true),
            (&["null"], &["null"], true),
            (&["null"], &["file://"], false),
            (&["file://"], &["file://"], true),
            (&["file://"], &["null"], false),
            (&["file://"], &["https://a.example"], false),
            (&["*"], &["null"], true),
            (
                &["https://a.example"],
                &["https://a.example", "https://b.example"],
                false,
            ),
            (&[], &["https://a.example"], false),
        ];
        for (allowed, sent, expected) in cases {
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            let mut headers = HeaderMap::new();
            for origin in *sent {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(
                AllowedOrigins::new(&allowed).allow(&headers),
                *expected,
                "{allowed:?} {sent:?}"
            );
        }
    }

    #[test]
    fn preflights() {
        let values = |reply: &Reply, name: header::HeaderName| -> Vec<String> {
            let values = reply.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap_or_default().to_owned())
                .collect()
        };
        let wanted = "baggage, sentry-trace, traceparent, x-requested-with";
        for (allowed, origin, expected) in [
            ("*", "https://a.example", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://b.example", false),
        ] {
            let origins = AllowedOrigins::new(&[allowed.to_owned()]);
            let mut asked = HeaderMap::new();
            asked.insert(header::ORIGIN, HeaderValue::from_static(origin));
            let headers = HeaderValue::from_static(wanted);
            asked.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, headers);
            let mut reply = origins.preflight(&asked);
            origins.share(asked.get(header::ORIGIN), &mut reply);
            let found = values(&reply, header::ACCESS_CONTROL_ALLOW_HEADERS);
            assert_eq!(
                found,
                if expected { vec![wanted] } else { vec![] },
                "{allowed} {origin}"
            );
            let shared = values(&reply, header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(shared.is_empty(), !expected, "{allowed} {origin}");
            let vary = values(&reply, header::VARY).join(", ");
            assert!(vary.contains("Access-Control-Request-Headers"), "{vary}");
            assert_eq!(vary.ends_with(", Origin"), allowed != "*", "{vary}");
        }
    }
}
