//! The head of a request, what a dialect finds in it, and how it refuses an upgrade.

use std::{borrow::Cow, time::SystemTime};

use uuid::Uuid;

use crate::{HttpReply, Identity, Refusal};

/// Decides who may connect.
pub trait Accept: Send + Sync {
    /// Returns whether this dialect claims the handshake, on a listener where it shares a path. The first dialect that
    /// claims a handshake gets it; if none does, the last one.
    fn claims(&self, _handshake: &RequestHead<'_>) -> bool {
        false
    }

    /// Returns whether `text`, from a client of another dialect on a shared path, is a message of this dialect.
    fn recognizes(&self, _text: &str) -> bool {
        false
    }

    /// Returns what an upgrade request offers. Without a token, the connection is anonymous.
    ///
    /// # Errors
    /// If the request is refused for what it does or does not offer.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal>;

    /// Judges a user, or an anonymous client, after the token was verified.
    ///
    /// # Errors
    /// The reason of a refusal.
    fn admit(&self, _identity: Option<&Identity>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Returns what a client without a token may do and which setting forbids it, as the end of a sentence that begins
    /// with "anyone may"; `None` if nothing. The server warns of it when it starts.
    fn open_to_anyone(&self) -> Option<&'static str> {
        None
    }

    /// Returns the name of a connection whose client gave none; `None` if connections have no names.
    fn name_for(&self, _connection: Uuid) -> Option<String> {
        None
    }

    /// Returns how the client receives a refusal.
    fn refuse(&self, refusal: Refusal, about: &About<'_>) -> Rejection;
}

/// The parts of an HTTP request's head that dialects read.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// The path's template, and the requested path.
    path: (&'static str, &'a str),
    query: &'a str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Returns whether `path` is `template`, in which `{name}` stands for any one segment that is not empty.
///
/// ```
/// use fanfare_core::path_matches;
///
/// assert!(path_matches("/app/{key}", "/app/4c1f"));
/// assert!(!path_matches("/app/{key}", "/app/"));
/// assert!(!path_matches("/app/{key}", "/app/4c1f/events"));
/// ```
pub fn path_matches(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let all = template.split('/').all(|part| {
        let segment = parts.next();
        segment.is_some_and(|segment| part == segment || (parameter(part).is_some() && !segment.is_empty()))
    });
    all && parts.next().is_none()
}

/// Returns the parameter's name if this part of a template is one.
fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// The credential and the names that a dialect found in an upgrade request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The JSON Web Token; the server verifies it, never a dialect. `None` admits an anonymous connection.
    pub token: Option<Cow<'a, str>>,
    /// The client's name; two connections of the dialect cannot have the same.
    pub name: Option<Cow<'a, str>>,
    /// The subprotocol to agree to (RFC 6455, section 1.9).
    pub subprotocol: Option<Cow<'a, str>>,
    /// Whether to keep the client's `User-Agent` for reports.
    pub keep_user_agent: bool,
}

/// The facts that a refusal's text may show.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The client's name.
    pub name: Option<&'a str>,
    /// Open connections of the dialect.
    pub active: u64,
    /// The maximum of connections of the dialect.
    pub max_connections: u64,
    /// A fresh id for the answer.
    pub id: Uuid,
    /// The time of the answer.
    pub now: SystemTime,
}

/// How the client receives a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// As an HTTP response instead of the upgrade.
    Http {
        /// The status code.
        status: u16,
        /// The JSON body; empty for none.
        body: Cow<'static, str>,
    },
    /// As a close frame right after the upgrade, for browsers, which hide the HTTP response from the page.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: Cow<'static, str>,
    },
}

impl<'a> RequestHead<'a> {
    /// Returns the head with this query string (without `?`) and this look-up of a header by its lower-case
    /// name.
    pub fn new(query: &'a str, header: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        let path = ("", "");
        Self { path, query, header }
    }

    /// Returns the head of a request to `path`, which matches `template`.
    #[must_use]
    pub fn at(self, template: &'static str, path: &'a str) -> Self {
        let path = (template, path);
        Self { path, ..self }
    }

    /// Returns the path's segment at `{name}` of the dialect's path or of [`Endpoint::path`], as it was sent.
    ///
    /// [`Endpoint::path`]: crate::Endpoint::path
    pub fn path_parameter(&self, name: &str) -> Option<&'a str> {
        let (template, path) = self.path;
        let mut segments = template.split('/').zip(path.split('/'));
        segments
            .find(|(part, _)| parameter(part) == Some(name))
            .map(|(_, segment)| segment)
    }

    /// Returns the header of that lower-case name, if it is there and visible ASCII. Repeated headers are
    /// joined by commas (RFC 9110, section 5.3).
    pub fn header(&self, name: &str) -> Option<&'a str> {
        (self.header)(name)
    }

    /// Returns the first query parameter `name`, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the query parameter `name`, percent-decoded; `None` if it is missing.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if it is there more than once: programs differ in which one they use, so a
    /// proxy could have checked another than this server.
    pub fn credential(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut found = form_urlencoded::parse(self.query.as_bytes()).filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value);
        match found.next() {
            Some(_) => Err(Refusal::BadCredential),
            None => Ok(first),
        }
    }

    /// Returns the credential in `Authorization: Bearer` (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if the header has another form.
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
    /// Returns the offer of a client whose token may be in several places. An empty token counts as none.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if two of them differ: a proxy could have checked another than this server.
    pub fn of_one(tokens: impl IntoIterator<Item = Option<Cow<'a, str>>>) -> Result<Self, Refusal> {
        let mut tokens = tokens.into_iter().flatten().filter(|token| !token.is_empty());
        let token = tokens.next();
        if tokens.any(|other| token.as_ref() != Some(&other)) {
            return Err(Refusal::BadCredential);
        }
        Ok(Self {
            token,
            ..Self::default()
        })
    }

    /// Returns the offer of a client with that token.
    pub fn of_token(token: impl Into<Cow<'a, str>>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::default()
        }
    }
}

impl From<HttpReply> for Rejection {
    fn from(reply: HttpReply) -> Self {
        Self::http(reply.status, reply.body)
    }
}

impl Rejection {
    /// Returns an HTTP response with this JSON body.
    pub fn http(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self::Http {
            status,
            body: body.into(),
        }
    }

    /// Returns a close frame.
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
            let found = RequestHead::new(query, &none).credential("token");
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
            assert_eq!(RequestHead::new("", &header).bearer(), *expected, "{value:?}");
        }
    }
}
