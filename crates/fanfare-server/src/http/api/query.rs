//! Reads query parameters: each at most once, and no unknown one.

use std::{borrow::Cow, str::FromStr};

use fanfare_engine::{Counts, NameRange};
use utoipa::IntoParams;

/// The default number of results in one page.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The parameter `limit`, for descriptions; [`Query::limit`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is only described")]
pub(in crate::http) struct Limit {
    /// Results in one page.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    limit: Option<usize>,
}

/// A query string's parameters.
pub(in crate::http) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Parses `text`, which may have the parameters `known`. An error is a text for the caller.
    pub(in crate::http) fn read(text: &'a str, known: &[&str]) -> Result<Self, String> {
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&&*name) {
                return Err(format!("unknown parameter (there are: {})", known.join(", ")));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(format!("the parameter {name} is there more than once"));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    pub(in crate::http) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| &**value)
    }

    pub(in crate::http) fn text(&self, name: &str) -> Option<Box<str>> {
        self.get(name).map(Into::into)
    }

    /// Returns the parsed value of the parameter `name`, if it is there. `expected` is the text of the error.
    pub(in crate::http) fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, String> {
        let parsed = self.get(name).map(str::parse).transpose();
        parsed.map_err(|_| format!("{name}: {expected}"))
    }

    /// Returns the parameter `limit`, from 1 to 1,000; 100 by default.
    pub(in crate::http) fn limit(&self) -> Result<usize, String> {
        let Some(text) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT);
        };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| format!("limit: expected a number from 1 to {MAX_LIMIT}"))
    }
}

/// Reads the query of a list of names.
pub(in crate::http) fn names(query: &str) -> Result<NameRange, String> {
    let query = Query::read(query, &["prefix", "limit", "cursor"])?;
    Ok(NameRange {
        after: query.text("cursor").unwrap_or_default(),
        prefix: query.text("prefix").unwrap_or_default(),
        limit: query.limit()?,
    })
}

/// Returns the cursor after a page of names; `None` on the last page.
pub(in crate::http) fn next_name(page: &Counts, limit: usize) -> Option<&str> {
    let last = page.keys().next_back().filter(|_| page.len() == limit);
    last.map(|name| &**name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let known = ["user", "limit"];
        let query = Query::read("user=a%20b&limit=7", &known).unwrap_or_else(|message| panic!("{message}"));
        assert_eq!(
            (query.get("user"), query.get("x"), query.limit()),
            (Some("a b"), None, Ok(7))
        );
        for (text, limit) in [
            ("", Ok(100)),
            ("limit=1000", Ok(1000)),
            ("limit=0", Err(())),
            ("limit=1001", Err(())),
            ("limit=x", Err(())),
        ] {
            let found = Query::read(text, &known).and_then(|query| query.limit());
            assert_eq!(found.map_err(|_| ()), limit, "{text}");
        }
        for bad in ["other=1", "user=1&user=2"] {
            assert!(Query::read(bad, &known).is_err(), "{bad}");
        }
    }
}
