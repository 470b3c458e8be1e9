//! `POST /api/v1/events`: services publish.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use fanfare_brokers::wire::parse_publication;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    Site, caller,
    reply::{self, Reply, api_error},
};

/// Publishes one event or an array of them; all or nothing.
pub(super) async fn publish(request: Request<Incoming>, peer: IpAddr, site: &Arc<Site>) -> Reply {
    let (head, body) = request.into_parts();
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
    let body = match read(body, site).await {
        Ok(body) => body,
        Err(answer) => return answer,
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

/// The whole body, within the limit and the time that a request's head has, too.
async fn read(body: Incoming, site: &Site) -> Result<Bytes, Reply> {
    let limited = Limited::new(body, site.options.max_body_size);
    match tokio::time::timeout(site.options.handshake_timeout, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(api_error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "INVALID_REQUEST",
            "the body is over the size limit",
        )),
        Ok(Err(_)) => Err(api_error(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST",
            "the body could not be read",
        )),
        Err(_) => Err(api_error(
            StatusCode::REQUEST_TIMEOUT,
            "INVALID_REQUEST",
            "the body did not arrive in time",
        )),
    }
}
