//! Admits the clients that connect, and hands their sockets over to connections.

use std::{
    borrow::Cow, fmt::Display, net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::Instant,
    time::SystemTime,
};

use bytes::Bytes;
use fanfare_accounts::Scope;
use fanfare_core::{Identity, Refusal, RefusalFacts, Rejection, RequestHead, UserId};
use fanfare_engine::{Admission, ConnectionGuard, Framing, MountedDialect, NewConnection, Shard};
use fanfare_ws::{
    encode,
    extensions::{self, Agreement, Malformed},
    handshake::{self, HandshakeError},
};
use http::{HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use super::{
    Site,
    body::RequestBody,
    endpoints,
    headers::Joined,
    rejection::RouteRejection,
    reply::{self, Reply},
    reply_body::{ByteStream, HandOver, ReplyBody, hand_over_to},
    site::Mount,
    spelling,
};
use crate::{
    auth::{Credentials, TokenError},
    refusals::{self, Subject},
};

/// The longest kept `User-Agent`, in bytes.
const MAX_USER_AGENT: usize = 256;
/// The lifetime of an API key's identity: ten years, because a key does not expire.
const KEY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The longest time that a client takes to close after it was refused by a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An admitted client.
struct AdmittedClient {
    connection: NewConnection,
    subprotocol: Option<String>,
    form: u8,
}

/// A request to connect.
struct UpgradeRequest<'a> {
    head: &'a Parts,
    asked: &'a RequestHead<'a>,
    site: &'a Site,
    mounted: &'a Arc<MountedDialect>,
    /// The client's address.
    address: IpAddr,
}

/// Replies to a request to connect. If it is accepted, the reply is 101 or a stream, and the connection takes over the socket. With
/// `is_rate_limited` it is refused.
pub(super) async fn upgrade(
    request: Request<RequestBody>,
    address: IpAddr,
    site: &Site,
    shard: &Rc<Shard>,
    mount: &Mount,
    is_rate_limited: bool,
) -> Reply {
    let begun = Instant::now();
    let (head, _) = request.into_parts();
    let joined = Joined::new(&head.headers);
    let header = |name: &str| joined.get(name);
    let path = site.local_path(head.uri.path()).unwrap_or_default();
    let asked = RequestHead::new(head.uri.query().unwrap_or_default(), &header).at(mount.path(), path);
    let request = UpgradeRequest {
        head: &head,
        asked: &asked,
        site,
        mounted: mount.choose(&asked),
        address,
    };
    if is_rate_limited {
        return request.refuse(&Refusal::RateLimited.into(), None);
    }
    // Checked before the token: a request with another method is not a handshake.
    if let Some(refused) = request.wrong_method() {
        return refused;
    }
    if !site.options.origins.allow(&head.headers) {
        return request.forbidden_origin();
    }
    let mut name = None;
    let admitted = match request.admit(mount, &mut name).await {
        Ok(client) if request.mounted.dialect.streams() => request.stream(client, shard).await,
        Ok(client) => request.accept(client, shard).await,
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok(answer) => {
            if matches!(answer.status(), StatusCode::SWITCHING_PROTOCOLS | StatusCode::OK) {
                site.node.counters.handshake.observe(begun.elapsed());
            }
            answer
        }
        Err(refused) => request.refuse(&refused, name.as_deref()),
    }
}

/// A refusal; of a token, with the reason.
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

impl UpgradeRequest<'_> {
    fn wrong_method(&self) -> Option<Reply> {
        let (method, streams) = (&self.head.method, self.mounted.dialect.streams());
        if method == Method::GET || (streams && method == Method::HEAD) {
            return None;
        }
        Some(if streams {
            let wrong = RouteRejection::WrongMethod(vec![Method::GET, Method::HEAD]);
            endpoints::reject(self.mounted, &wrong)
        } else {
            self.not_a_handshake(HandshakeError::NotGet)
        })
    }

    /// Refuses a page of another origin.
    fn forbidden_origin(&self) -> Reply {
        let origin = self.head.headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        let origin = String::from_utf8_lossy(origin.unwrap_or_default());
        self.note("forbidden_origin", Some(&origin), Some(self.address));
        reply::dialect_error(self.mounted, StatusCode::FORBIDDEN, "origin not allowed")
    }

    /// Verifies the client's identity and admits it. Stores its name in `name`, also for a refusal.
    async fn admit(
        &self,
        mount: &Mount,
        name: &mut Option<String>,
    ) -> Result<AdmittedClient, RefusedUpgrade> {
        let (site, mounted) = (self.site, self.mounted);
        if site.node.is_draining() {
            return Err(Refusal::ShuttingDown.into());
        }
        let offer = mounted.dialect.offer(self.asked)?;
        let identity = match &offer.token {
            Some(token) => match self.service(token)? {
                Some(service) => Some(service),
                None => Some(self.identify(token).await?),
            },
            None => None,
        };
        mounted.dialect.admit(identity.as_deref())?;
        let id = Uuid::now_v7();
        let own_name = offer.name.map(Cow::into_owned);
        *name = own_name.or_else(|| mounted.dialect.name_for(id));
        let admission = Admission::enter(&site.node, mounted, self.address, name.as_deref()).await?;
        let user_agent = self.head.headers.get(header::USER_AGENT);
        let user_agent = user_agent.filter(|_| offer.keep_user_agent).map(|value| {
            let ascii = value.as_bytes().iter().copied().filter(u8::is_ascii);
            let kept: String = ascii.take(MAX_USER_AGENT).map(char::from).collect();
            kept.into()
        });
        let connection = NewConnection {
            admission,
            identity,
            id,
            user_agent,
            guest: mount.guest(mounted),
            framing: Framing::WebSocket(None),
            opening: offer.opening,
        };
        Ok(AdmittedClient {
            connection,
            subprotocol: offer.subprotocol.map(Cow::into_owned),
            form: offer.form,
        })
    }

    /// Returns the identity of a backend if the dialect streams and `offered` is an API key.
    fn service(&self, offered: &str) -> Result<Option<Arc<Identity>>, Refusal> {
        let name = match self.site.options.accounts.api_key(offered) {
            _ if !self.mounted.dialect.streams() => return Ok(None),
            Some(key) if key.allows(Scope::Read) => key.session(),
            Some(_) => return Err(Refusal::Forbidden),
            None if self.site.rules().api_keys.hold(offered.as_bytes()) => {
                Credentials::name_of(offered.as_bytes())
            }
            None => return Ok(None),
        };
        let name = UserId::new(&name).map_err(|_| Refusal::BadCredential)?;
        let service = Identity::service(name, SystemTime::now() + KEY_LIFE);
        Ok(Some(Arc::new(service)))
    }

    async fn identify(&self, token: &str) -> Result<Arc<Identity>, RefusedUpgrade> {
        let identified = self.site.gate.identify(token).await;
        identified.map_err(|error| RefusedUpgrade {
            refusal: match error {
                TokenError::Expired => Refusal::ExpiredCredential,
                TokenError::KeysUnavailable => Refusal::KeysUnavailable,
                _ => Refusal::BadCredential,
            },
            token: Some(error),
        })
    }

    /// Reserves the connection of an admitted client, which writes the response's body, and returns the response.
    async fn stream(&self, client: AdmittedClient, shard: &Rc<Shard>) -> Result<Reply, RefusedUpgrade> {
        let form = client.form;
        // HTTP/1.0 has no chunks.
        let chunked = self.head.version == Version::HTTP_11;
        let connection = NewConnection {
            framing: Framing::Body { form, chunked },
            ..client.connection
        };
        let guard = shard.reserve(connection).await?;
        Ok(self.begin_stream(guard, form).await)
    }

    /// Begins the conversation of `guard`, and returns the response.
    async fn begin_stream(&self, mut guard: ConnectionGuard, form: u8) -> Reply {
        if let Err((status, message)) = guard.begin().await {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            return with_status_header(reply::dialect_error(self.mounted, status, &message));
        }
        let mut reply = if self.head.method == Method::HEAD {
            Reply::default()
        } else {
            Reply::new(ReplyBody::endless(hand_over_to(guard)))
        };
        let types = self.mounted.dialect.media_types();
        let media_type = types[usize::from(form) % types.len()];
        reply = reply::with(reply, header::CONTENT_TYPE, media_type);
        reply = reply::with(reply, header::CACHE_CONTROL, "no-store");
        reply = reply::with(reply, header::CONNECTION, "close");
        reply::unbuffered(reply)
    }

    /// Reserves the connection of an admitted client, and returns the response to its handshake.
    async fn accept(&self, client: AdmittedClient, shard: &Rc<Shard>) -> Result<Reply, RefusedUpgrade> {
        let accept = match self.check() {
            Ok(accept) => accept,
            Err(answer) => return Ok(*answer),
        };
        let deflate = match self.negotiate() {
            Ok(deflate) => deflate,
            Err(error) => {
                return Ok(self.bad_handshake(StatusCode::BAD_REQUEST, &error.to_string(), &[]));
            }
        };
        let connection = NewConnection {
            framing: Framing::WebSocket(deflate.as_ref().map(|agreed| agreed.params)),
            ..client.connection
        };
        let guard = shard.reserve(connection).await?;
        let then = hand_over_to(guard);
        Ok(switching(&accept, deflate, client.subprotocol, then))
    }

    /// Checks that the request is a WebSocket handshake; returns its `Sec-WebSocket-Accept`.
    fn check(&self) -> Result<String, Box<Reply>> {
        let headers = &self.head.headers;
        let length = headers.get(header::CONTENT_LENGTH);
        if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
            // A proxy would forward as a body the bytes that this server parses as frames.
            let message = "an upgrade request has no body";
            return Err(self.bad_handshake(StatusCode::BAD_REQUEST, message, &[]).into());
        }
        handshake::check(self.head).map_err(|error| self.not_a_handshake(error).into())
    }

    /// Agrees on compression, if it is enabled and the client offers a supported form.
    fn negotiate(&self) -> Result<Option<Agreement>, Malformed> {
        if self.mounted.settings().compression {
            extensions::negotiate(&self.head.headers)
        } else {
            Ok(None)
        }
    }

    /// Counts and logs a refusal, and returns it in the dialect's form.
    fn refuse(&self, refused: &RefusedUpgrade, name: Option<&str>) -> Reply {
        let refusal = refused.refusal;
        let detail = refused.token.as_ref().map(|error| -> &dyn Display { error });
        self.note(refusal.label(), detail, Some(self.address));
        let (dialect, facts) = (&self.mounted.dialect, self.site.node.dialect_facts(self.mounted));
        let about = RefusalFacts {
            name,
            active: facts.active,
            max_connections: facts.max_connections,
            id: Uuid::new_v4(),
            now: SystemTime::now(),
        };
        if let Some(body) = dialect.refuse_temporarily(self.asked, refusal, &about) {
            return whole_stream(self.mounted, body);
        }
        match dialect.refuse(refusal, &about) {
            Rejection::Http(answer) => {
                let answer = reply::from_dialect(answer);
                if refusal == Refusal::KeysUnavailable {
                    reply::retry_later(answer)
                } else if dialect.streams() {
                    with_status_header(answer)
                } else {
                    answer
                }
            }
            Rejection::Close { code, reason } => match self.check() {
                Ok(accept) => {
                    let frame = encode::close_frame(code, &reason);
                    let then: HandOver = Box::new(|socket, _| {
                        tokio::task::spawn_local(async move { send_close(socket, &frame).await });
                    });
                    switching(&accept, None, None, then)
                }
                Err(answer) => *answer,
            },
        }
    }

    /// Counts and logs a refused connection; as a warning if the server is full, because the operator may have to act.
    fn note(&self, reason: &'static str, detail: Option<&dyn Display>, peer: Option<IpAddr>) {
        self.mounted.counters.refusals.add(reason);
        self.site.gate.refusals.note(&refusals::Refused {
            subject: Subject::Connection,
            dialect: Some(self.mounted.name),
            reason,
            detail,
            peer,
            is_warning: reason.ends_with("at_capacity"),
        });
    }

    fn not_a_handshake(&self, error: HandshakeError) -> Reply {
        self.bad_handshake(error.status(), &error.to_string(), error.headers())
    }

    fn bad_handshake(
        &self,
        status: StatusCode,
        message: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Reply {
        self.note("bad_handshake", Some(&message), None);
        let mut answer = reply::dialect_error(self.mounted, status, message);
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().insert(*name, value);
        }
        spelling::spell(&mut answer);
        answer
    }
}

/// Returns a complete stream, in its dialect's first form.
fn whole_stream(mounted: &MountedDialect, body: Bytes) -> Reply {
    let [media_type, _] = mounted.dialect.media_types();
    reply::text(StatusCode::OK, media_type, body)
}

/// Adds the header that the status of `reply` requires.
fn with_status_header(reply: Reply) -> Reply {
    match reply.status() {
        StatusCode::UNAUTHORIZED => reply::challenge(reply),
        StatusCode::SERVICE_UNAVAILABLE => reply::retry_later(reply),
        _ => reply,
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

/// Sends a close frame, for clients that cannot read an HTTP response, and closes.
async fn send_close(mut socket: Box<dyn ByteStream>, close_frame: &[u8]) {
    let closing = async {
        socket.write_all(close_frame).await?;
        socket.shutdown().await?;
        // A close with unread data would reset the connection, and the client might not receive the frame.
        let mut rest = [0; 512];
        while socket.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // After an error the socket is closed, too.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}
