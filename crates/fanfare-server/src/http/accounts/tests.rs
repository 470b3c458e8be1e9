//! The replies to refused accounts, logins and tokens.

use std::time::Duration;

use fanfare_accounts::storage::{Outage, StorageError};
use http::header;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;
use crate::auth::TokenError;

/// Returns the status and the body of a reply, and when to retry.
async fn answered(family: Family, failure: &Failure) -> (u16, Value, Option<String>) {
    let reply = family.failed(failure);
    let retry_after = reply.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.map(|value| value.to_str().unwrap_or_default().to_owned());
    let status = reply.status().as_u16();
    let body = reply
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    (status, body, retry_after)
}

#[tokio::test]
async fn every_refusal_has_both_forms() {
    let storage = AccountError::Storage;
    let limited = |millis| AccountError::TooManyAttempts {
        retry_after: Duration::from_millis(millis),
    };
    for (error, status, code, retry_after) in [
        (AccountError::Taken, 409, "INVALID_REQUEST", None),
        (AccountError::Closed, 403, "FORBIDDEN", None),
        (AccountError::BadCredentials, 401, "INVALID_CREDENTIALS", None),
        (AccountError::WrongPassword, 403, "FORBIDDEN", None),
        (AccountError::BadToken, 401, "INVALID_TOKEN", None),
        (limited(0), 429, "RATE_LIMITED", Some("1")),
        (limited(30_001), 429, "RATE_LIMITED", Some("31")),
        (AccountError::Busy, 503, "SERVER_FULL", Some("1")),
        (AccountError::NotIssuing, 403, "FORBIDDEN", None),
        (AccountError::NotFound("session"), 404, "NOT_FOUND", None),
        (storage(Outage::Slow.into()), 503, "SERVER_FULL", Some("5")),
        (storage(Outage::ReadOnly.into()), 503, "SERVER_FULL", Some("5")),
        (storage(StorageError::Conflict), 500, "INTERNAL_ERROR", None),
    ] {
        let failure = Failure::from(error);
        let ((_, _, message), retry_after) = (failure.describe(), retry_after.map(str::to_owned));
        let plain = json!({ "success": false, "error": message });
        let coded = json!({ "error": { "code": code, "message": message, "details": {} } });
        for (family, body) in [(Family::Auth, plain), (Family::Sessions, coded)] {
            let expected = (status, body, retry_after.clone());
            assert_eq!(answered(family, &failure).await, expected, "{failure:?}");
        }
    }
}

#[test]
fn replies_do_not_show_errors_of_the_database() {
    for (error, message) in [
        (
            Outage::Denied.into(),
            "the database is not available at the moment",
        ),
        (StorageError::Newer { found: 9, known: 1 }, "internal error"),
        (StorageError::Fault("column secret".to_owned()), "internal error"),
    ] {
        let (_, _, text) = Failure::from(AccountError::Storage(error)).describe();
        assert_eq!(text, message);
    }
}

#[tokio::test]
async fn the_reply_names_the_invalid_field() {
    let failure = Failure::from(AccountError::Bad {
        field: "email",
        issue: "no",
    });
    let plain =
        json!({ "success": false, "error": "email: no", "details": { "field": "email", "issue": "no" } });
    let details = json!({ "email": "no" });
    let coded = json!({ "error": { "code": "INVALID_REQUEST", "message": "email: no", "details": details } });
    assert_eq!(answered(Family::Auth, &failure).await, (400, plain, None));
    assert_eq!(answered(Family::Sessions, &failure).await, (400, coded, None));
}

#[test]
fn a_reply_without_a_valid_token_has_a_challenge() {
    for failure in [Failure::NoToken, Failure::BadToken(TokenError::Expired)] {
        let reply = Family::Sessions.failed(&failure);
        assert_eq!(reply.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
