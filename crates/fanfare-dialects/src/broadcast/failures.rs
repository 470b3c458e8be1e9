//! How a request that fails is answered: `{"error":{"id","message","category","timestamp"}}`.

use fanfare_core::{HttpError, HttpReply, timestamp};
use serde_json::json;

/// The answer to a request that failed.
pub(super) fn reply(error: &HttpError<'_>) -> HttpReply {
    // The end of an id is random; its beginning is the time.
    let id = format!("error_{:08x}", error.id.as_u128() & 0xffff_ffff);
    let body = json!({ "error": {
        "id": id,
        "message": error.message,
        "category": category(error.status),
        "timestamp": timestamp(error.now).to_string(),
    }});
    HttpReply::json(error.status, &body)
}

/// Whose fault it is: the request's form (`validation`), what it asks for (`application`), the way it came
/// (`connection`), or ours (`system`).
fn category(status: u16) -> &'static str {
    match status {
        401 | 403 | 404 | 405 | 409 => "application",
        408 | 429 => "connection",
        500.. => "system",
        _ => "validation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories() {
        for (status, expected) in [
            (400, "validation"),
            (401, "application"),
            (403, "application"),
            (404, "application"),
            (405, "application"),
            (408, "connection"),
            (409, "application"),
            (413, "validation"),
            (422, "validation"),
            (429, "connection"),
            (500, "system"),
            (503, "system"),
        ] {
            assert_eq!(category(status), expected, "{status}");
        }
    }
}
