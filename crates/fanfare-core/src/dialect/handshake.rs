//! The credential and the names in the head of an upgrade request, and a dialect's refusal of the upgrade.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{HttpReply, Identity, Refusal, RequestHead, history::Since};

/// Decides which clients may connect.
pub trait Accept: Send + Sync {
    /// Returns whether this dialect claims the handshake, on a listener where it shares a path. The first dialect that
    /// claims a handshake gets it; if none does, the last one.
    fn claims(&self, _handshake: &RequestHead<'_>) -> bool {
        false
    }

    /// Returns whether `text`, from a client of another dialect on a shared path, is a message of this dialect.
    fn recognizes(&self, _text: &str) -> bool {
        false
    }

    /// Returns whether a client gets an endless response instead of a WebSocket. Every message to it is a part of the
    /// response's body ([`Rendering::Forms`](crate::Rendering)), and it sends none.
    fn streams(&self) -> bool {
        false
    }

    /// Returns the media type of each form of the response's body, if this dialect [streams](Self::streams).
    fn media_types(&self) -> [&'static str; 2] {
        [""; 2]
    }

    /// Returns the offer of an upgrade request. Without a token, the connection is anonymous.
    ///
    /// # Errors
    /// If the request is refused for its offer.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal>;

    /// Judges a user, or an anonymous client, after the token was verified.
    ///
    /// # Errors
    /// The reason of a refusal.
    fn admit(&self, _identity: Option<&Identity>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Returns the end of a sentence that begins with "anyone may": the rights of a client without a token, and the
    /// setting that forbids them; `None` if it has no rights. The server logs it as a warning when it starts.
    fn open_to_anyone(&self) -> Option<&'static str> {
        None
    }

    /// Returns the name of a connection whose client gave none; `None` if connections have no names.
    fn name_for(&self, _connection: Uuid) -> Option<String> {
        None
    }

    /// Returns the response to a client instead of a temporary refusal, as a whole body in its dialect's first form
    /// with status 200: for clients that reconnect by themselves, and give up at any other status.
    fn put_off(&self, _request: &RequestHead<'_>, _refusal: Refusal, _about: &About<'_>) -> Option<Bytes> {
        None
    }

    /// Returns how the client receives a refusal.
    fn refuse(&self, refusal: Refusal, about: &About<'_>) -> Rejection;
}

/// The credential and the names that a dialect found in an upgrade request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The JSON Web Token; the server verifies it, never a dialect. `None` admits an anonymous connection.
    pub token: Option<Cow<'a, str>>,
    /// The client's name; two connections of the dialect cannot have the same.
    pub name: Option<Cow<'a, str>>,
    /// The subprotocol to agree to (RFC 6455, section 1.9).
    pub subprotocol: Option<Cow<'a, str>>,
    /// Whether to keep the client's `User-Agent` for reports.
    pub keep_user_agent: bool,
    /// Which of its dialect's forms the client reads.
    pub form: u8,
    /// The client's requests in its handshake; in a box, because few have any.
    pub opening: Option<Box<Opening>>,
}

/// A client's requests in its handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Replay missed events. The connection receives no event until its conversation has sent a command to resume.
    pub resume: Option<Since>,
    /// The requested rooms or channels, as the client wrote them.
    pub names: Vec<Box<str>>,
    /// Whether the connection ends after the missed events.
    pub polls: bool,
}

impl Opening {
    /// Returns the requests in the query's parameters `resume` and `rewind`; `None` if both are missing.
    pub fn of(handshake: &RequestHead<'_>) -> Option<Box<Self>> {
        let (resume, rewind) = (handshake.parameter("resume"), handshake.parameter("rewind"));
        let resume = Some(Since::of(resume.as_deref(), rewind.as_deref())?);
        Some(Box::new(Self {
            resume,
            ..Self::default()
        }))
    }
}

/// The facts that a refusal's text may show.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The client's name.
    pub name: Option<&'a str>,
    /// Open connections of the dialect.
    pub active: u64,
    /// The maximum of connections of the dialect.
    pub max_connections: u64,
    /// A fresh id for the answer.
    pub id: Uuid,
    /// The time of the answer.
    pub now: SystemTime,
}

/// How the client receives a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// As an HTTP response instead of the upgrade.
    Http(HttpReply),
    /// As a close frame right after the upgrade, for browsers, which hide the HTTP response from the page.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: Cow<'static, str>,
    },
}

impl<'a> Offer<'a> {
    /// Returns the offer of a client whose token may be in several places. An empty token counts as none.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if two of them differ: a proxy could have checked another than this server.
    pub fn of_one(tokens: impl IntoIterator<Item = Option<Cow<'a, str>>>) -> Result<Self, Refusal> {
        let mut tokens = tokens.into_iter().flatten().filter(|token| !token.is_empty());
        let token = tokens.next();
        if tokens.any(|other| token.as_ref() != Some(&other)) {
            return Err(Refusal::BadCredential);
        }
        Ok(Self {
            token,
            ..Self::default()
        })
    }

    /// Returns the offer of a client with that token.
    pub fn of_token(token: impl Into<Cow<'a, str>>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::default()
        }
    }
}

impl From<HttpReply> for Rejection {
    fn from(reply: HttpReply) -> Self {
        Self::Http(reply)
    }
}

impl Rejection {
    /// Returns an HTTP response with this JSON body; empty for none.
    pub fn http(status: u16, body: &'static str) -> Self {
        let body = body.into();
        Self::Http(HttpReply { status, body })
    }

    /// Returns a close frame.
    pub fn close(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Close {
            code,
            reason: reason.into(),
        }
    }
}
