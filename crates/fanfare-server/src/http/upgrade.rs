//! From an HTTP request to a connection.

use std::{
    borrow::Cow, fmt::Display, net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::Instant,
    time::SystemTime,
};

use fanfare_core::{About, Identity, Refusal, Rejection, RequestHead};
use fanfare_engine::{Admission, MountedDialect, NewConnection, Seat, Shard, Transport};
use fanfare_ws::{
    encode,
    extensions::{self, Agreement, Malformed},
    handshake::{self, HandshakeError},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use uuid::Uuid;

use super::{
    Site,
    body::RequestBody,
    headers::Joined,
    reply::{self, Reply},
    reply_body::ReplyBody,
    site::Mount,
    spelling,
    stream::HttpStream,
};
use crate::{
    auth::TokenError,
    refusals::{self, Subject},
};

/// The longest kept `User-Agent`, in bytes.
const MAX_USER_AGENT: usize = 256;
/// How long a client that is refused by a close frame may take to close.
const HANG_UP: Duration = Duration::from_secs(2);

/// An admitted client.
struct Entrant {
    newcomer: NewConnection,
    subprotocol: Option<String>,
}

/// Judges an upgrade request. If it is accepted, replies with 101 and serves the connection from then on.
pub(super) async fn upgrade(
    request: Request<RequestBody>,
    peer: IpAddr,
    site: &Arc<Site>,
    shard: &Rc<Shard>,
    mount: &Mount,
) -> Reply {
    let begun = Instant::now();
    let (mut head, _) = request.into_parts();
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let uri = head.uri.clone();
    let path = site.local_path(uri.path()).unwrap_or_default();
    let asked = RequestHead::new(uri.query().unwrap_or_default(), &header).at(mount.path(), path);
    let mounted = mount.choose(&asked);
    // First of all: a request with another method is not a handshake, so it cannot lack a token or have a bad body.
    if head.method != Method::GET {
        return not_a_handshake(site, mounted, HandshakeError::NotGet);
    }
    let address = site.client(peer, &head.headers);
    if !site.options.origins.allow(&head.headers) {
        return foreign(&head.headers, site, mounted, address);
    }
    let mut called = None;
    let judged = judge(&asked, &head.headers, site, mount, mounted, address, &mut called).await;
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let admitted = match judged {
        Ok(entrant) => {
            let (subprotocol, deflate) = (entrant.subprotocol, negotiate(mounted, &head.headers));
            let (accept, deflate) = match (check(&head, site, mounted), deflate) {
                (Ok(accept), Ok(deflate)) => (accept, deflate),
                (Err(answer), _) => return *answer,
                (_, Err(error)) => {
                    return bad_handshake(site, mounted, StatusCode::BAD_REQUEST, &error.to_string(), &[]);
                }
            };
            let newcomer = NewConnection {
                deflate: deflate.as_ref().map(|agreed| agreed.params),
                ..entrant.newcomer
            };
            shard
                .reserve(newcomer)
                .await
                .map(|seat| (seat, switching(&accept, deflate, subprotocol)))
                .map_err(RefusedUpgrade::from)
        }
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok((seat, answer)) => {
            site.node.counters.handshake.observe(begun.elapsed());
            let timeout = site.rules().handshake_timeout;
            await_upgrade(on_upgrade, timeout, async move |upgraded| {
                take_over(seat, upgraded);
            });
            answer
        }
        Err(refused) => {
            note_refusal(site, mounted, &refused, address);
            refuse(
                &head,
                on_upgrade,
                site,
                mounted,
                refused.refusal,
                called.as_deref(),
            )
        }
    }
}

/// Refuses a page of another origin.
fn foreign(headers: &HeaderMap, site: &Site, mounted: &MountedDialect, address: IpAddr) -> Reply {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let origin = String::from_utf8_lossy(origin.unwrap_or_default());
    note(site, mounted, "forbidden_origin", Some(&origin), Some(address));
    reply::failed(mounted, StatusCode::FORBIDDEN, "origin not allowed")
}

/// Tells a client that came too often that it is not let in.
pub(super) fn turn_back(request: Request<RequestBody>, peer: IpAddr, site: &Site, mount: &Mount) -> Reply {
    let (mut head, _) = request.into_parts();
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let uri = head.uri.clone();
    let path = site.local_path(uri.path()).unwrap_or_default();
    let asked = RequestHead::new(uri.query().unwrap_or_default(), &header).at(mount.path(), path);
    let mounted = mount.choose(&asked);
    let address = site.client(peer, &head.headers);
    note_refusal(site, mounted, &Refusal::RateLimited.into(), address);
    refuse(&head, on_upgrade, site, mounted, Refusal::RateLimited, None)
}

/// A refusal; for a token, with the reason.
struct RefusedUpgrade {
    refusal: Refusal,
    token: Option<TokenError>,
}

impl From<Refusal> for RefusedUpgrade {
    fn from(refusal: Refusal) -> Self {
        let token = None;
        Self { refusal, token }
    }
}

/// Judges the client's identity and whether it may connect; stores its name in `called`.
async fn judge(
    asked: &RequestHead<'_>,
    headers: &HeaderMap,
    site: &Site,
    mount: &Mount,
    mounted: &Arc<MountedDialect>,
    address: IpAddr,
    called: &mut Option<String>,
) -> Result<Entrant, RefusedUpgrade> {
    if site.node.is_draining() {
        return Err(Refusal::ShuttingDown.into());
    }
    let offer = mounted.dialect.offer(asked)?;
    let identity = match &offer.token {
        Some(token) => Some(identify(site, token).await?),
        None => None,
    };
    mounted.dialect.admit(identity.as_deref())?;
    let id = Uuid::now_v7();
    *called = offer
        .name
        .map(Cow::into_owned)
        .or_else(|| mounted.dialect.name_for(id));
    let admission = Admission::enter(&site.node, mounted, address, called.as_deref()).await?;
    let user_agent = headers.get(header::USER_AGENT).filter(|_| offer.keep_user_agent);
    let user_agent = user_agent.map(|value| value.as_bytes().iter().copied().filter(u8::is_ascii));
    let newcomer = NewConnection {
        admission,
        identity,
        id,
        user_agent: user_agent.map(|bytes| {
            bytes
                .take(MAX_USER_AGENT)
                .map(char::from)
                .collect::<String>()
                .into()
        }),
        successor: mount.successor(mounted),
        deflate: None,
        opening: offer.opening,
    };
    Ok(Entrant {
        newcomer,
        subprotocol: offer.subprotocol.map(Cow::into_owned),
    })
}

async fn identify(site: &Site, token: &str) -> Result<Arc<Identity>, RefusedUpgrade> {
    site.gate.identify(token).await.map_err(|error| RefusedUpgrade {
        refusal: match error {
            TokenError::Expired => Refusal::ExpiredCredential,
            TokenError::KeysUnavailable => Refusal::KeysUnavailable,
            _ => Refusal::BadCredential,
        },
        token: Some(error),
    })
}

/// Checks that the request is a WebSocket handshake; returns its `Sec-WebSocket-Accept`.
fn check(head: &Parts, site: &Site, mounted: &MountedDialect) -> Result<String, Box<Reply>> {
    if has_body(&head.headers) {
        // A proxy in front would read as a body what this server would read as frames.
        let message = "an upgrade request has no body";
        return Err(bad_handshake(site, mounted, StatusCode::BAD_REQUEST, message, &[]).into());
    }
    handshake::check(head).map_err(|error| not_a_handshake(site, mounted, error).into())
}

/// Serves the socket after the response was sent.
fn await_upgrade<F: AsyncFnOnce(Upgraded) + 'static>(
    on_upgrade: Option<OnUpgrade>,
    timeout: Duration,
    then: F,
) {
    let Some(on_upgrade) = on_upgrade else { return };
    tokio::task::spawn_local(async move {
        // A client that does not read the response is dropped.
        if let Ok(Ok(upgraded)) = tokio::time::timeout(timeout, on_upgrade).await {
            then(upgraded).await;
        }
    });
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Agrees on compression, if it is enabled and the client offers a supported form.
fn negotiate(mounted: &MountedDialect, headers: &HeaderMap) -> Result<Option<Agreement>, Malformed> {
    if mounted.settings().compression {
        extensions::negotiate(headers)
    } else {
        Ok(None)
    }
}

/// Takes the socket out of hyper. Hyper's memory for the request is freed here, before the connection's own long-lived,
/// small task begins.
fn take_over(seat: Seat, upgraded: Upgraded) {
    let upgraded = match upgraded.downcast::<TokioIo<HttpStream<TcpStream>>>() {
        Ok(parts) => {
            let (socket, ahead) = parts.io.into_inner().into_parts();
            return seat.serve(Transport::Plain(socket), &[parts.read_buf, ahead].concat());
        }
        Err(upgraded) => upgraded,
    };
    if let Ok(parts) = upgraded.downcast::<TokioIo<HttpStream<TlsStream<TcpStream>>>>() {
        let (stream, ahead) = parts.io.into_inner().into_parts();
        let (socket, tls) = stream.into_inner();
        seat.serve(
            Transport::Tls(socket, Box::new(tls)),
            &[parts.read_buf, ahead].concat(),
        );
    }
}

fn switching(accept: &str, compression: Option<Agreement>, subprotocol: Option<String>) -> Reply {
    let mut answer = http::Response::new(ReplyBody::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(agreement) = compression {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreement.answer);
    }
    if let Some(Ok(subprotocol)) = subprotocol.map(HeaderValue::try_from) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    spelling::spell(&mut answer);
    answer
}

/// Refuses the client in the words of its dialect.
fn refuse(
    head: &Parts,
    on_upgrade: Option<OnUpgrade>,
    site: &Site,
    mounted: &MountedDialect,
    refusal: Refusal,
    name: Option<&str>,
) -> Reply {
    let dialect = &mounted.dialect;
    let facts = site.node.dialect_facts(mounted);
    let about = About {
        name,
        active: facts.active,
        max_connections: facts.max_connections,
        id: Uuid::new_v4(),
        now: SystemTime::now(),
    };
    match dialect.refuse(refusal, &about) {
        Rejection::Http { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            let answer = reply::text(status, "application/json", body.into_owned());
            if refusal == Refusal::KeysUnavailable {
                reply::later(answer)
            } else {
                answer
            }
        }
        Rejection::Close { code, reason } => match check(head, site, mounted) {
            Ok(accept) => {
                let frame = encode::close_frame(code, &reason);
                let timeout = site.rules().handshake_timeout;
                await_upgrade(on_upgrade, timeout, async move |upgraded| {
                    turn_away(upgraded, &frame).await;
                });
                switching(&accept, None, None)
            }
            Err(answer) => *answer,
        },
    }
}

/// Counts and logs a refusal.
fn note_refusal(site: &Site, mounted: &MountedDialect, refused: &RefusedUpgrade, address: IpAddr) {
    let detail = refused.token.as_ref().map(|error| -> &dyn Display { error });
    note(site, mounted, refused.refusal.label(), detail, Some(address));
}

/// Counts and logs a refused connection. At capacity the operator may have to act.
fn note(
    site: &Site,
    mounted: &MountedDialect,
    reason: &'static str,
    detail: Option<&dyn Display>,
    peer: Option<IpAddr>,
) {
    mounted.counters.refusals.add(reason);
    site.gate.refusals.note(&refusals::Refused {
        subject: Subject::Connection,
        dialect: Some(mounted.name),
        reason,
        detail,
        peer,
        is_warning: reason.ends_with("at_capacity"),
    });
}

/// Sends a close frame and closes, for clients that cannot read an HTTP response.
async fn turn_away(upgraded: Upgraded, close_frame: &[u8]) {
    let mut socket = TokioIo::new(upgraded);
    let saying = async {
        socket.write_all(close_frame).await?;
        socket.shutdown().await?;
        // Closing with unread data would reset the connection, and the client might not receive the frame.
        let mut rest = [0; 512];
        while socket.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The socket is closed in any case.
    let _ = tokio::time::timeout(HANG_UP, saying).await;
}

fn not_a_handshake(site: &Site, mounted: &MountedDialect, error: HandshakeError) -> Reply {
    bad_handshake(site, mounted, error.status(), &error.to_string(), error.headers())
}

fn bad_handshake(
    site: &Site,
    mounted: &MountedDialect,
    status: StatusCode,
    message: &str,
    headers: &[(&'static str, &'static str)],
) -> Reply {
    note(site, mounted, "bad_handshake", Some(&message), None);
    let mut answer = reply::failed(mounted, status, message);
    for (name, value) in headers {
        answer
            .headers_mut()
            .insert(*name, HeaderValue::from_static(value));
    }
    spelling::spell(&mut answer);
    answer
}
