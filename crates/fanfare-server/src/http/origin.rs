//! Which web pages may connect and call (RFC 6454 origins).

use http::{HeaderMap, HeaderValue, header};

use super::{rate_limit, reply::Reply};

/// The origins that are allowed.
#[derive(Debug, Clone)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Allows these, each `scheme://host[:port]`; `*` allows all.
    pub fn new(allowed: &[String]) -> Self {
        Self(
            allowed
                .iter()
                .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
                .collect(),
        )
    }

    /// Whether a request with these headers may go on. One without `Origin` does not come from a web page.
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
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
            if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        rate_limit::expose(headers);
    }

    fn all(&self) -> bool {
        self.0.iter().any(|allowed| allowed == "*")
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.all()
            || origin
                .to_str()
                .is_ok_and(|origin| self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)))
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
                Origins::new(&allowed).allow(&headers),
                *expected,
                "{allowed:?} {sent:?}"
            );
        }
    }
}
