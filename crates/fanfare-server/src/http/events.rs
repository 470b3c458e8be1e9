//! `POST /api/v1/events`: services publish.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use fanfare_brokers::wire::parse_publication;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    Site, body, caller,
    reply::{self, Reply, api_error},
};

/// Publishes one event or an array of them; all or nothing.
pub(super) async fn publish(request: Request<Incoming>, peer: IpAddr, site: &Arc<Site>) -> Reply {
    let (head, sent) = request.into_parts();
    if !caller::may_use_api(site, peer, &head.uri, &head.headers) {
        let mut answer = api_error(
            StatusCode::UNAUTHORIZED,
            "INVALID_TOKEN",
            "an API key is required",
        );
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return answer;
    }
    let body = match body::read(sent, &site.options).await {
        Ok(body) => body,
        Err(unread) => return api_error(unread.status(), "INVALID_REQUEST", unread.message()),
    };
    let events = match parse_publication(&body, SystemTime::now()) {
        Ok(events) => events,
        Err(error) => return api_error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", &error.to_string()),
    };
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    let receipts = site.node.publish(events).await;
    let recipients: u64 = receipts.iter().map(|receipt| receipt.reach.queued).sum();
    let mut answer = json!({ "ids": ids, "recipients": recipients });
    if receipts.iter().any(|receipt| receipt.degraded) {
        answer["degraded"] = true.into();
    }
    reply::json(StatusCode::OK, &answer)
}
