//! What a dialect may look at before it lets a connection in.

use std::borrow::Cow;

use crate::Refusal;

/// The parts of an HTTP upgrade request that dialects read.
pub struct Handshake<'a> {
    query: &'a str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// The bytes a client offered to prove who it is. Fanfare's core verifies them, never a dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer<'a> {
    /// Nothing, and this dialect lets such a connection in.
    Anonymous,
    /// A JSON Web Token.
    Token(Cow<'a, str>),
}

impl<'a> Handshake<'a> {
    /// A handshake with this query string (without `?`) and this way to look up a header by its lower-case name.
    pub fn new(query: &'a str, header: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        Self { query, header }
    }

    /// The header of that lower-case name, if it is there and is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        (self.header)(name)
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
}
