//! Reads request headers; for dialects, with one value for each name.

use fanfare_core::Event;
use http::{HeaderMap, HeaderName, header::AsHeaderName};

use crate::otlp::TRACEPARENT;

/// A request's headers; several values of one name are joined by commas (RFC 9110, section 5.3).
pub(super) struct Joined<'a> {
    headers: &'a HeaderMap,
    several: Vec<(HeaderName, String)>,
}

impl<'a> Joined<'a> {
    pub(super) fn new(headers: &'a HeaderMap) -> Self {
        if headers.len() == headers.keys_len() {
            let several = Vec::new();
            return Self { headers, several };
        }
        let is_repeated = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
        let repeated = headers.keys().filter(is_repeated);
        let join = |name: &HeaderName| {
            let values: Vec<_> = all_of(headers, name).collect();
            (name.clone(), values.join(", "))
        };
        Self {
            headers,
            several: repeated.map(join).collect(),
        }
    }

    /// Returns the value of the header with this lower-case name, if there is one of visible ASCII.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        match self.several.iter().find(|(several, _)| *several == name) {
            Some((_, joined)) => Some(joined),
            None => self.headers.get(name).and_then(|value| value.to_str().ok()),
        }
    }
}

/// Returns the trace that a request belongs to, for [`Event::traceparent`].
pub(super) fn traceparent(headers: &HeaderMap) -> Option<Box<str>> {
    Event::traceparent_of(headers.get(TRACEPARENT)?.to_str().ok()?)
}

/// Returns the values of a header that are visible ASCII.
pub(super) fn all_of(headers: &HeaderMap, name: impl AsHeaderName) -> impl DoubleEndedIterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn values_of_one_name_are_joined() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("b", "3")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let joined = Joined::new(&headers);
        assert_eq!(
            (joined.get("a"), joined.get("b"), joined.get("c")),
            (Some("1"), Some("2, 3"), None)
        );
    }
}
