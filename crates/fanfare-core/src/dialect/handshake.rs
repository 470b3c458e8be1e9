//! The port that reads upgrade requests, and refuses them.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use crate::{HttpReply, Identity, Refusal, RequestHead, history::Since};

/// Decides which clients may connect.
pub trait Accept: Send + Sync {
    /// Returns `true` if this dialect claims the handshake on a shared path. The first dialect that claims it serves the
    /// connection; if none does, the last one.
    fn claims(&self, _handshake: &RequestHead<'_>) -> bool {
        false
    }

    /// Returns `true` if `text`, from a client of another dialect on a shared path, is a message of this dialect.
    fn recognizes(&self, _text: &str) -> bool {
        false
    }

    /// Returns `true` if clients get an endless response instead of a WebSocket. Each message is a part of the body
    /// ([`Rendering::Forms`](crate::Rendering)), and clients send none.
    fn streams(&self) -> bool {
        false
    }

    /// Returns the media types of the two forms of the body, if this dialect [streams](Self::streams).
    fn media_types(&self) -> [&'static str; 2] {
        [""; 2]
    }

    /// Returns the offer of an upgrade request. Without a token, the connection is anonymous.
    ///
    /// # Errors
    /// The reason why the request is refused.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal>;

    /// Judges a user, or an anonymous client, after the verification of its token.
    ///
    /// # Errors
    /// The reason why the client is refused.
    fn admit(&self, _identity: Option<&Identity>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Returns the end of a sentence that begins with "anyone may": the rights of clients without a token, and the setting
    /// that forbids them; `None` for no rights. The server logs it as a warning at its start.
    fn open_to_anyone(&self) -> Option<&'static str> {
        None
    }

    /// Returns the name of a connection whose client sent none; `None` if connections have no names.
    fn name_for(&self, _connection: Uuid) -> Option<String> {
        None
    }

    /// Returns the body of a response with the status 200 instead of a temporary refusal, in the first form. It is for
    /// clients that reconnect after it, but not after any other status.
    fn refuse_temporarily(
        &self,
        _request: &RequestHead<'_>,
        _refusal: Refusal,
        _about: &RefusalFacts<'_>,
    ) -> Option<Bytes> {
        None
    }

    /// Returns the form in which the client receives a refusal.
    fn refuse(&self, refusal: Refusal, about: &RefusalFacts<'_>) -> Rejection;
}

/// The credential and the names in an upgrade request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The JSON Web Token, which the server verifies. `None` is an anonymous connection.
    pub token: Option<Cow<'a, str>>,
    /// The client's name, which is unique in the dialect.
    pub name: Option<Cow<'a, str>>,
    /// The accepted subprotocol (RFC 6455, section 1.9).
    pub subprotocol: Option<Cow<'a, str>>,
    /// Whether the server stores the client's `User-Agent` for reports.
    pub keep_user_agent: bool,
    /// The index of the form that the client reads.
    pub form: u8,
    /// The client's requests in its handshake, in a box because few clients have any.
    pub opening: Option<Box<Opening>>,
}

/// A client's requests in its handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// The replay of missed events. The connection receives no event until its conversation has sent a command to resume.
    pub resume: Option<Since>,
    /// The requested rooms or channels, as the client wrote them.
    pub names: Vec<Box<str>>,
    /// Whether the connection ends after the replay.
    pub polls: bool,
}

impl Opening {
    /// Returns the requests of the query parameters `resume` and `rewind`; `None` if both are missing.
    pub fn of(handshake: &RequestHead<'_>) -> Option<Box<Self>> {
        let (resume, rewind) = (handshake.parameter("resume"), handshake.parameter("rewind"));
        let resume = Some(Since::of(resume.as_deref(), rewind.as_deref())?);
        Some(Box::new(Self {
            resume,
            ..Self::default()
        }))
    }
}

/// The facts that the text of a refusal may show.
#[derive(Debug, Clone, Copy)]
pub struct RefusalFacts<'a> {
    /// The client's name.
    pub name: Option<&'a str>,
    /// The number of open connections of the dialect.
    pub active: u64,
    /// The maximum of connections of the dialect.
    pub max_connections: u64,
    /// A fresh id for the response.
    pub id: Uuid,
    /// The time of the response.
    pub now: SystemTime,
}

/// The form in which a client receives a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// An HTTP response instead of the upgrade.
    Http(HttpReply),
    /// A close frame after the upgrade, for browsers: they hide HTTP responses from the page.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: Cow<'static, str>,
    },
}

impl<'a> Offer<'a> {
    /// Returns the offer of a client with a token in any of several places. An empty token counts as none.
    ///
    /// # Errors
    /// [`Refusal::BadCredential`] if two of them differ. A proxy may have checked another than this server.
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

    /// Returns the offer of a client with this token.
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
    /// Returns an HTTP response with this JSON body, or an empty one.
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
