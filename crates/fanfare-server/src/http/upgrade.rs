//! From an HTTP request to a connection.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::SystemTime};

use fanfare_core::{Handshake, Identity, Offer, Refusal, Rejection};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{
    Site,
    reply::{self, Reply},
};
use crate::{
    auth::identity,
    engine::{Admission, MountedDialect, Newcomer, Seat, Shard, Transport},
    ws::{
        extensions::{self, Agreement, Malformed},
        handshake,
    },
};

/// Judges an upgrade request for `mounted` and, if all is well, answers 101 and serves the connection from then on.
pub(super) async fn upgrade(
    request: Request<Incoming>,
    peer: IpAddr,
    site: &Arc<Site>,
    shard: &Rc<Shard>,
    mounted: &Arc<MountedDialect>,
) -> Reply {
    if !site.options.origins.allow(request.headers()) {
        mounted.counters.refusals.add("forbidden_origin");
        tracing::debug!(
            dialect = mounted.dialect.name(),
            reason = "forbidden_origin",
            "connection refused"
        );
        return reply::error(StatusCode::FORBIDDEN, "origin not allowed");
    }
    let identity = match identify(&request, site, mounted) {
        Ok(identity) => identity,
        Err(refusal) => return refuse(mounted, refusal),
    };
    let (head, body) = request.into_parts();
    if has_body(&head.headers) {
        // A proxy in front would take for a body what we would take for frames.
        return bad_handshake(
            mounted,
            StatusCode::BAD_REQUEST,
            "an upgrade request has no body",
            &[],
        );
    }
    let accept = match handshake::check(&head) {
        Ok(accept) => accept,
        Err(error) => return bad_handshake(mounted, error.status(), &error.to_string(), error.headers()),
    };
    let compression = match negotiate(mounted, &head.headers) {
        Ok(compression) => compression,
        Err(error) => return bad_handshake(mounted, StatusCode::BAD_REQUEST, &error.to_string(), &[]),
    };
    let deflate = compression.as_ref().map(|agreement| agreement.params);
    let address = site.client(peer, &head.headers);
    let reserved = match Admission::take(mounted, address) {
        Ok(admission) => {
            shard
                .reserve(Newcomer {
                    admission,
                    identity,
                    address,
                    deflate,
                })
                .await
        }
        Err(refusal) => Err(refusal),
    };
    let seat = match reserved {
        Ok(seat) => seat,
        Err(refusal) => return refuse(mounted, refusal),
    };
    let timeout = site.options.handshake_timeout;
    let upgraded = hyper::upgrade::on(Request::from_parts(head, body));
    tokio::task::spawn_local(async move {
        // A client that does not even read our answer is forgotten like one that never asked.
        if let Ok(Ok(upgraded)) = tokio::time::timeout(timeout, upgraded).await {
            take_over(seat, upgraded);
        }
    });
    switching(&accept, compression)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Who the client is, by the credential its dialect reads from the request.
fn identify<B>(
    request: &Request<B>,
    site: &Site,
    mounted: &MountedDialect,
) -> Result<Option<Identity>, Refusal> {
    if site.node.is_draining() {
        return Err(Refusal::ShuttingDown);
    }
    let headers = request.headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = match mounted.dialect.offer(&Handshake::new(
        request.uri().query().unwrap_or_default(),
        &header,
    ))? {
        Offer::Anonymous => return Ok(None),
        Offer::Token(token) => token,
    };
    let verified = site.verifier.verify(&token, SystemTime::now()).map_err(|error| {
        tracing::debug!(dialect = mounted.dialect.name(), reason = %error, "token refused");
        Refusal::BadCredential
    })?;
    identity(&verified, &[]).map(Some).ok_or(Refusal::BadCredential)
}

/// Agrees on compression where it is switched on and the client offers a form of it that we can serve.
fn negotiate(mounted: &MountedDialect, headers: &HeaderMap) -> Result<Option<Agreement>, Malformed> {
    if mounted.settings.compression {
        extensions::negotiate(headers)
    } else {
        Ok(None)
    }
}

/// Takes the socket out of hyper. What hyper held for the request is dropped here, before the connection's own, long
/// and small, task begins.
fn take_over(seat: Seat, upgraded: Upgraded) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return seat.serve(Transport::Plain(parts.io.into_inner()), &parts.read_buf),
        Err(upgraded) => upgraded,
    };
    if let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        let (socket, tls) = parts.io.into_inner().into_inner();
        seat.serve(Transport::Tls(socket, Box::new(tls)), &parts.read_buf);
    }
}

fn switching(accept: &str, compression: Option<Agreement>) -> Reply {
    let mut answer = http::Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(agreement) = compression {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreement.answer);
    }
    answer
}

/// Says no in the dialect's words, and counts it.
pub(super) fn refuse(mounted: &MountedDialect, refusal: Refusal) -> Reply {
    mounted.counters.refusals.add(refusal.label());
    match refusal {
        Refusal::AtCapacity | Refusal::AddressAtCapacity | Refusal::UserAtCapacity => {
            tracing::warn!(
                dialect = mounted.dialect.name(),
                reason = refusal.label(),
                "connection refused"
            );
        }
        Refusal::MissingCredential
        | Refusal::BadCredential
        | Refusal::RateLimited
        | Refusal::ShuttingDown => {
            tracing::debug!(
                dialect = mounted.dialect.name(),
                reason = refusal.label(),
                "connection refused"
            );
        }
    }
    let Rejection { status, body } = mounted.dialect.refuse(refusal);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    reply::text(status, "application/json", body.into_owned())
}

fn bad_handshake(
    mounted: &MountedDialect,
    status: StatusCode,
    message: &str,
    headers: &[(&'static str, &'static str)],
) -> Reply {
    mounted.counters.refusals.add("bad_handshake");
    let mut answer = reply::error(status, message);
    for (name, value) in headers {
        answer
            .headers_mut()
            .insert(*name, HeaderValue::from_static(value));
    }
    answer
}
