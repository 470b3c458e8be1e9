//! The fields of a request's body.

use serde_json::{Map, Value};

use crate::accounts::AccountError;

/// A JSON object. Fields that nobody asks for are ignored; of a field that is there twice, the last counts.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields in `body`, if it is a JSON object.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// A text that must be there. It may be empty.
    pub(super) fn text(&self, field: &'static str) -> Result<&str, AccountError> {
        self.optional_text(field)?.ok_or(AccountError::Bad {
            field,
            issue: "is missing",
        })
    }

    /// A text that may be missing, or `null`.
    pub(super) fn optional_text(&self, field: &'static str) -> Result<Option<&str>, AccountError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(AccountError::Bad {
                field,
                issue: "expected a string",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let issue = |issue| Err(AccountError::Bad { field: "a", issue });
        for (body, needed, optional) in [
            (r#"{"a":"x"}"#, Ok("x"), Ok(Some("x"))),
            (r#"{"a":""}"#, Ok(""), Ok(Some(""))),
            (r#"{"a":"x","a":"y"}"#, Ok("y"), Ok(Some("y"))),
            (r#"{"a":null}"#, issue("is missing"), Ok(None)),
            (r"{}", issue("is missing"), Ok(None)),
            (
                r#"{"a":1}"#,
                issue("expected a string"),
                issue("expected a string").map(Some),
            ),
            (
                r#"{"a":["x"]}"#,
                issue("expected a string"),
                issue("expected a string").map(Some),
            ),
        ] {
            let fields = Fields::parse(body.as_bytes()).map(|fields| {
                (
                    fields.text("a").map(str::to_owned),
                    fields.optional_text("a").map(|found| found.map(str::to_owned)),
                )
            });
            let expected = (
                needed.map(str::to_owned),
                optional.map(|found| found.map(str::to_owned)),
            );
            assert_eq!(fields, Some(expected), "{body}");
        }
    }

    #[test]
    fn bodies_that_have_none() {
        for body in [
            &b""[..],
            b"null",
            b"[]",
            b"\"a\"",
            b"{",
            b"{} {}",
            b"a=b",
            b"{\"a\":\"\xff\"}",
            br#"{"a":"\ud800"}"#,
        ] {
            assert!(Fields::parse(body).is_none(), "{body:?}");
        }
    }
}
