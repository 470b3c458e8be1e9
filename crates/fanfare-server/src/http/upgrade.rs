//! From an HTTP request to a connection.

use std::{
    borrow::Cow, fmt::Display, net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::Instant,
    time::SystemTime,
};

use fanfare_accounts::Scope;
use fanfare_core::{About, Identity, Refusal, Rejection, RequestHead, UserId};
use fanfare_engine::{Admission, Framing, MountedDialect, NewConnection, Shard};
use fanfare_ws::{
    encode,
    extensions::{self, Agreement, Malformed},
    handshake::{self, HandshakeError},
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use super::{
    Site,
    body::RequestBody,
    body_stream, endpoints,
    hand_over::{self, ByteStream, HandOver},
    headers::Joined,
    rejection::RouteRejection,
    reply::{self, Reply},
    reply_body::ReplyBody,
    site::Mount,
    spelling,
};
use crate::{
    auth::{Credentials, TokenError},
    refusals::{self, Subject},
};

/// The longest kept `User-Agent`, in bytes.
const MAX_USER_AGENT: usize = 256;
/// A key does not expire: ten years.
const KEY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a client that is refused by a close frame may take to close.
const HANG_UP: Duration = Duration::from_secs(2);

/// An admitted client.
struct Entrant {
    newcomer: NewConnection,
    subprotocol: Option<String>,
    form: u8,
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
    let (head, _) = request.into_parts();
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let uri = head.uri.clone();
    let path = site.local_path(uri.path()).unwrap_or_default();
    let asked = RequestHead::new(uri.query().unwrap_or_default(), &header).at(mount.path(), path);
    let mounted = mount.choose(&asked);
    // First of all: a request with another method is not a handshake, so it cannot lack a token or have a bad body.
    if let Some(refused) = wrong_method(&head.method, site, mounted) {
        return refused;
    }
    let address = site.client(peer, &head.headers);
    if !site.options.origins.allow(&head.headers) {
        return foreign(&head.headers, site, mounted, address);
    }
    let mut called = None;
    let judged = judge(&asked, &head.headers, site, mount, mounted, address, &mut called).await;
    let admitted = match judged {
        Ok(entrant) if mounted.dialect.streams() => stream(entrant, &head, shard, mounted).await,
        Ok(entrant) => welcome(entrant, &head, site, shard, mounted).await,
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok(answer) => {
            if matches!(answer.status(), StatusCode::SWITCHING_PROTOCOLS | StatusCode::OK) {
                site.node.counters.handshake.observe(begun.elapsed());
            }
            answer
        }
        Err(refused) => {
            note_refusal(site, mounted, &refused, address);
            refuse(&head, &asked, site, mounted, refused.refusal, called.as_deref())
        }
    }
}

fn wrong_method(method: &Method, site: &Site, mounted: &MountedDialect) -> Option<Reply> {
    let streams = mounted.dialect.streams();
    if method == Method::GET || (streams && method == Method::HEAD) {
        return None;
    }
    Some(if streams {
        let wrong = RouteRejection::WrongMethod(vec![Method::GET, Method::HEAD]);
        endpoints::reject(mounted, &wrong)
    } else {
        not_a_handshake(site, mounted, HandshakeError::NotGet)
    })
}

/// Has an admitted client become a connection that writes the body of its response, and returns the response.
async fn stream(
    entrant: Entrant,
    head: &Parts,
    shard: &Rc<Shard>,
    mounted: &MountedDialect,
) -> Result<Reply, RefusedUpgrade> {
    let form = entrant.form;
    // Older clients know no chunks.
    let chunked = head.version == Version::HTTP_11;
    let framing = Framing::Body { form, chunked };
    let newcomer = NewConnection {
        framing,
        ..entrant.newcomer
    };
    let seat = shard.reserve(newcomer).await?;
    Ok(body_stream::begin(seat, head, mounted, form).await)
}

/// Has an admitted client become a connection, and returns the response to its handshake.
async fn welcome(
    entrant: Entrant,
    head: &Parts,
    site: &Site,
    shard: &Rc<Shard>,
    mounted: &MountedDialect,
) -> Result<Reply, RefusedUpgrade> {
    let (subprotocol, deflate) = (entrant.subprotocol, negotiate(mounted, &head.headers));
    let (accept, deflate) = match (check(head, site, mounted), deflate) {
        (Ok(accept), Ok(deflate)) => (accept, deflate),
        (Err(answer), _) => return Ok(*answer),
        (_, Err(error)) => {
            let message = error.to_string();
            return Ok(bad_handshake(
                site,
                mounted,
                StatusCode::BAD_REQUEST,
                &message,
                &[],
            ));
        }
    };
    let newcomer = NewConnection {
        framing: Framing::WebSocket(deflate.as_ref().map(|agreed| agreed.params)),
        ..entrant.newcomer
    };
    let seat = shard.reserve(newcomer).await?;
    Ok(switching(&accept, deflate, subprotocol, hand_over::to(seat)))
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
    let (head, _) = request.into_parts();
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let uri = head.uri.clone();
    let path = site.local_path(uri.path()).unwrap_or_default();
    let asked = RequestHead::new(uri.query().unwrap_or_default(), &header).at(mount.path(), path);
    let mounted = mount.choose(&asked);
    let address = site.client(peer, &head.headers);
    note_refusal(site, mounted, &Refusal::RateLimited.into(), address);
    refuse(&head, &asked, site, mounted, Refusal::RateLimited, None)
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
        Some(token) => match service(site, mounted, token)? {
            Some(service) => Some(service),
            None => Some(identify(site, token).await?),
        },
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
        framing: Framing::WebSocket(None),
        opening: offer.opening,
    };
    Ok(Entrant {
        newcomer,
        subprotocol: offer.subprotocol.map(Cow::into_owned),
        form: offer.form,
    })
}

/// Returns the identity of a backend, where `offered` is an API key and the dialect is one that backends use.
fn service(site: &Site, mounted: &MountedDialect, offered: &str) -> Result<Option<Arc<Identity>>, Refusal> {
    let name = match site.options.accounts.api_key(offered) {
        _ if !mounted.dialect.streams() => return Ok(None),
        Some(key) if key.allows(Scope::Read) => key.session(),
        Some(_) => return Err(Refusal::Forbidden),
        None if site.rules().api_keys.hold(offered.as_bytes()) => Credentials::name_of(offered.as_bytes()),
        None => return Ok(None),
    };
    let name = UserId::new(&name).map_err(|_| Refusal::BadCredential)?;
    Ok(Some(Arc::new(Identity::service(
        name,
        SystemTime::now() + KEY_LIFE,
    ))))
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

fn switching(
    accept: &str,
    compression: Option<Agreement>,
    subprotocol: Option<String>,
    then: HandOver,
) -> Reply {
    let mut answer = http::Response::new(ReplyBody::upgraded(then));
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
    asked: &RequestHead<'_>,
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
    if let Some(body) = dialect.put_off(asked, refusal, &about) {
        return body_stream::whole(mounted, body);
    }
    match dialect.refuse(refusal, &about) {
        Rejection::Http { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            let answer = reply::text(status, "application/json", body.into_owned());
            if refusal == Refusal::KeysUnavailable {
                reply::later(answer)
            } else if dialect.streams() {
                body_stream::challenged(answer)
            } else {
                answer
            }
        }
        Rejection::Close { code, reason } => match check(head, site, mounted) {
            Ok(accept) => {
                let frame = encode::close_frame(code, &reason);
                let then: HandOver = Box::new(|socket, _| {
                    tokio::task::spawn_local(async move { turn_away(socket, &frame).await });
                });
                switching(&accept, None, None, then)
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
async fn turn_away(mut socket: Box<dyn ByteStream>, close_frame: &[u8]) {
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
