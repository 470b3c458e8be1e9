//! Reads the fields of a request's body.

use fanfare_accounts::AccountError;
use fanfare_core::{RawObject, string};

/// The fields that routes read.
const KNOWN: [&str; 9] = [
    "currentPassword",
    "email",
    "name",
    "newPassword",
    "password",
    "refreshToken",
    "refresh_token",
    "token",
    "username",
];

/// The known fields of a JSON object, each with its text, or `None` if it is not a string. Of duplicate fields the last counts; `null` counts
/// as missing.
pub(super) struct Fields(Vec<(&'static str, Option<String>)>);

impl Fields {
    /// Returns the fields in `body`, if it is a JSON object.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let object = RawObject::parse(std::str::from_utf8(body).ok()?).ok()?;
        let mut fields = Vec::new();
        for name in KNOWN {
            if let Some(value) = object.given(name) {
                let text = match value.get().strip_prefix('"') {
                    Some(_) => Some(string(value)?.into_owned()),
                    None => None,
                };
                fields.push((name, text));
            }
        }
        Some(Self(fields))
    }

    /// Returns a required text. It may be empty.
    pub(super) fn text(&self, field: &'static str) -> Result<&str, AccountError> {
        let text = self.optional_text(field)?;
        text.ok_or(AccountError::bad(field, "is missing"))
    }

    /// Returns an optional text, which may be missing or `null`.
    pub(super) fn optional_text(&self, field: &'static str) -> Result<Option<&str>, AccountError> {
        debug_assert!(KNOWN.contains(&field), "{field}");
        match self.0.iter().find(|(name, _)| *name == field) {
            None => Ok(None),
            Some((_, Some(text))) => Ok(Some(text)),
            Some((_, None)) => Err(AccountError::bad(field, "expected a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let issue = |issue| Err(AccountError::Bad { field: "name", issue });
        for (body, needed, optional) in [
            (r#"{"name":"x"}"#, Ok("x"), Ok(Some("x"))),
            (r#"{"name":""}"#, Ok(""), Ok(Some(""))),
            (r#"{"name":"x","name":"y"}"#, Ok("y"), Ok(Some("y"))),
            (r#"{"name":null}"#, issue("is missing"), Ok(None)),
            (r"{}", issue("is missing"), Ok(None)),
            (
                r#"{"name":1}"#,
                issue("expected a string"),
                issue("expected a string").map(Some),
            ),
            (
                r#"{"name":["x"]}"#,
                issue("expected a string"),
                issue("expected a string").map(Some),
            ),
        ] {
            let fields = Fields::parse(body.as_bytes()).map(|fields| {
                (
                    fields.text("name").map(str::to_owned),
                    fields.optional_text("name").map(|found| found.map(str::to_owned)),
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
    fn bodies_without_fields() {
        for body in [
            &b""[..],
            b"null",
            b"[]",
            b"\"a\"",
            b"{",
            b"{} {}",
            b"a=b",
            b"{\"a\":\"\xff\"}",
            br#"{"name":"\ud800"}"#,
        ] {
            assert!(Fields::parse(body).is_none(), "{body:?}");
        }
    }
}
