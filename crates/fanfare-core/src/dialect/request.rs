//! The head of an HTTP request, as dialects read it.

use std::borrow::Cow;

use crate::Refusal;

/// The parts of an HTTP request's head that dialects read.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// The template of the path, and the requested path.
    path: (&'static str, &'a str),
    query: &'a str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Returns `true` if `path` matches `template`, in which `{name}` is any segment that is not empty.
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

fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

impl<'a> RequestHead<'a> {
    /// Returns the head with this query string (without `?`) and this function that returns a header by its lower-case name.
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

    /// Returns the segment of the path at `{name}` of its template, without decoding.
    pub fn path_parameter(&self, name: &str) -> Option<&'a str> {
        let (template, path) = self.path;
        let mut segments = template.split('/').zip(path.split('/'));
        let found = segments.find(|(part, _)| parameter(part) == Some(name));
        found.map(|(_, segment)| segment)
    }

    /// Returns the header of this lower-case name, if it is visible ASCII. Repeated headers are joined by commas (RFC 9110,
    /// section 5.3).
    pub fn header(&self, name: &str) -> Option<&'a str> {
        (self.header)(name)
    }

    /// Returns the first query parameter `name`, percent-decoded.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters(name).next()
    }

    /// Returns the values of the query parameter `name`, percent-decoded. It does not decode other parameters: a token is
    /// long, and would be decoded at each call.
    pub fn parameters<'own>(
        &'own self,
        name: &'own str,
    ) -> impl Iterator<Item = Cow<'a, str>> + use<'own, 'a> {
        let decode = |pair: &'a str| {
            if pair.contains('%') || pair.contains('+') {
                return form_urlencoded::parse(pair.as_bytes()).next();
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((key.into(), value.into()))
        };
        let is_named = move |pair: &&'a str| {
            let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
            key == name || key.contains(['%', '+']) && decode(key).is_some_and(|(key, _)| key == name)
        };
        let named = self.query.split('&').filter(is_named);
        named.filter_map(decode).map(|(_, value)| value)
    }

    /// Returns the query parameter `name`, percent-decoded; `None` if it is missing.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if it is repeated. Programs differ in which one they use, so a proxy may have checked
    /// another than this server.
    pub fn credential(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut found = self.parameters(name);
        let first = found.next();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_credential_in_the_query_is_refused() {
        let cases: &[(&str, Result<Option<&str>, Refusal>)] = &[
            ("", Ok(None)),
            ("other=1", Ok(None)),
            ("token=abc", Ok(Some("abc"))),
            ("a=b&token=a%2Eb", Ok(Some("a.b"))),
            ("token=", Ok(Some(""))),
            ("token", Ok(Some(""))),
            ("token=a&token=b", Err(Refusal::BadCredential)),
            ("token=a&tok%65n=a", Err(Refusal::BadCredential)),
            ("&&tok+en=a&&token=a+b=c&", Ok(Some("a b=c"))),
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
    fn a_bearer_credential_is_parsed() {
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
