//! What a dialect may look at before it lets a connection in, what it finds there, and how it says no.

use std::{borrow::Cow, time::SystemTime};

use uuid::Uuid;

use crate::Refusal;

/// The parts of an HTTP upgrade request that dialects read.
pub struct Handshake<'a> {
    query: &'a str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// What a dialect found in an upgrade request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// A JSON Web Token, which Fanfare's core verifies, never a dialect. `None` lets the connection in as nobody.
    pub token: Option<Cow<'a, str>>,
    /// What the client calls itself; no two connections of the dialect may have the same name.
    pub name: Option<Cow<'a, str>>,
    /// The subprotocol to agree to (RFC 6455, section 1.9).
    pub subprotocol: Option<Cow<'a, str>>,
    /// Whether reports show the client's `User-Agent`, so that it is worth keeping.
    pub keep_user_agent: bool,
}

/// What a refusal may tell of its circumstances.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// What the client calls itself.
    pub name: Option<&'a str>,
    /// Connections of the dialect now.
    pub active: u64,
    /// The most there may be.
    pub max_connections: u64,
    /// A fresh id for the answer.
    pub id: Uuid,
    /// The time of the answer.
    pub now: SystemTime,
}

/// How a refused client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// By an HTTP answer in place of the upgrade.
    Http {
        /// The status code.
        status: u16,
        /// The JSON body; empty for none.
        body: Cow<'static, str>,
    },
    /// By a close frame right after the upgrade, for clients that cannot read an HTTP answer.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: Cow<'static, str>,
    },
}

impl<'a> Handshake<'a> {
    /// A handshake with this query string (without `?`) and this way to look up a header by its lower-case name.
    pub fn new(query: &'a str, header: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        Self { query, header }
    }

    /// The header of that lower-case name, if it is there and is visible ASCII. Of several the values are joined by
    /// commas, as RFC 9110 section 5.3 allows.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        (self.header)(name)
    }

    /// The first query parameter `name`, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The query parameter `name`, percent-decoded; `None` when it is not there.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] when it is there more than once: readers differ in which one they believe, so a
    /// proxy could have checked another one than we would.
    pub fn credential(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut found = form_urlencoded::parse(self.query.as_bytes()).filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value);
        match found.next() {
            Some(_) => Err(Refusal::BadCredential),
            None => Ok(first),
        }
    }

    /// The credential in `Authorization: Bearer` (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] when the header has another form.
    pub fn bearer(&self) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.header("authorization") else {
            return Ok(None);
        };
        let (scheme, credential) = value.split_once(' ').ok_or(Refusal::BadCredential)?;
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty() {
            Ok(Some(credential))
        } else {
            Err(Refusal::BadCredential)
        }
    }
}

impl<'a> Offer<'a> {
    /// The offer of a client that proves who it is.
    pub fn of_token(token: impl Into<Cow<'a, str>>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::default()
        }
    }
}

impl Rejection {
    /// An HTTP answer with this JSON body.
    pub fn http(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self::Http {
            status,
            body: body.into(),
        }
    }

    /// A close frame.
    pub fn close(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close {
            code,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_the_query() {
        let cases: &[(&str, Result<Option<&str>, Refusal>)] = &[
            ("", Ok(None)),
            ("other=1", Ok(None)),
            ("token=abc", Ok(Some("abc"))),
            ("a=b&token=a%2Eb", Ok(Some("a.b"))),
            ("token=", Ok(Some(""))),
            ("token", Ok(Some(""))),
            ("token=a&token=b", Err(Refusal::BadCredential)),
            ("token=a&tok%65n=a", Err(Refusal::BadCredential)),
        ];
        for (query, expected) in cases {
            let none = |_: &str| None;
            let found = Handshake::new(query, &none).credential("token");
            assert_eq!(
                found.as_ref().map(Option::as_deref),
                expected.as_ref().map(|o| *o),
                "{query}"
            );
        }
    }

    #[test]
    fn bearer_credentials() {
        type Found = Result<Option<&'static str>, Refusal>;
        let cases: &[(Option<&str>, Found)] = &[
            (None, Ok(None)),
            (Some("Bearer a.b.c"), Ok(Some("a.b.c"))),
            (Some("bearer  a.b.c "), Ok(Some("a.b.c"))),
            (Some("Basic dXNlcg=="), Err(Refusal::BadCredential)),
            (Some("Bearer"), Err(Refusal::BadCredential)),
            (Some("Bearer "), Err(Refusal::BadCredential)),
        ];
        for (value, expected) in cases {
            let header = |name: &str| value.filter(|_| name == "authorization");
            assert_eq!(Handshake::new("", &header).bearer(), *expected, "{value:?}");
        }
    }
}
