//! `GET /api/v1/users/{id}/presence`: whether a user is online, on any node.

use fanfare_core::UserId;
use http::StatusCode;
use serde_json::json;

use super::{super::Site, Reply, invalid, reply};

pub(super) async fn show(user: &str, site: &Site) -> Reply {
    let decoded = percent_encoding::percent_decode_str(user).decode_utf8();
    let Some(user) = decoded.ok().and_then(|user| UserId::new(&user).ok()) else {
        return invalid("the path names no user id");
    };
    let found = site.node.presence(&user).await;
    let mut body = json!({ "user": &*user, "online": found.answer > 0, "connections": found.answer });
    if !found.complete {
        body["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &body)
}
