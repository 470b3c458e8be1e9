//! The request: its token, its channels, its resume and its form; and the refusals.

use std::borrow::Cow;

use bytes::Bytes;
use fanfare_core::{
    Accept, Identity, Offer, Opening, Refusal, RefusalFacts, Rejection, RequestHead, history::Since,
};

use super::{Stream, conversation::retry_ms, http, render};

/// The media types of the two forms of a body, the first for a client that names neither.
const MEDIA_TYPES: [&str; 2] = ["text/event-stream", "application/x-ndjson"];

impl Accept for Stream {
    fn streams(&self) -> bool {
        true
    }

    fn media_types(&self) -> [&'static str; 2] {
        MEDIA_TYPES
    }

    fn offer<'a>(&self, request: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        let offer = token(request)?;
        if offer.token.is_none() {
            self.admit(None)?;
        }
        let opening = Opening {
            resume: Some(since(request)),
            names: request.parameters("channel").map(Into::into).collect(),
            polls: request.parameter("poll").is_some_and(|poll| poll == "1"),
        };
        Ok(Offer {
            form: form(request.header("accept").unwrap_or_default()),
            opening: Some(Box::new(opening)),
            keep_user_agent: true,
            ..offer
        })
    }

    /// Without a token the client is anonymous, and the access rules decide.
    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        if identity.is_none() && self.require_auth {
            return Err(Refusal::MissingCredential);
        }
        Ok(())
    }

    fn open_to_anyone(&self) -> Option<&'static str> {
        self.admit(None).ok().map(|()| {
            "read every public channel that no access rule closes over HTTP, without a token: stream.require_auth = true \
             forbids it"
        })
    }

    /// A browser's `EventSource` does not reconnect after any status except 200. So the server refuses its reconnect by a
    /// stream that ends at once.
    fn refuse_temporarily(
        &self,
        request: &RequestHead<'_>,
        refusal: Refusal,
        about: &RefusalFacts<'_>,
    ) -> Option<Bytes> {
        let is_temporary = match refusal {
            Refusal::KeysUnavailable
            | Refusal::AtCapacity
            | Refusal::AddressAtCapacity
            | Refusal::UserAtCapacity
            | Refusal::RateLimited
            | Refusal::ShuttingDown => true,
            Refusal::MissingCredential
            | Refusal::BadCredential
            | Refusal::ExpiredCredential
            | Refusal::Forbidden
            | Refusal::BadName
            | Refusal::NameTaken => false,
        };
        let reconnects = request.header("last-event-id").is_some()
            && form(request.header("accept").unwrap_or_default()) == 0;
        (is_temporary && reconnects).then(|| render::later(refusal.label(), retry_ms(about.id)))
    }

    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        let (status, message) = match refusal {
            Refusal::MissingCredential => (401, "a token is required"),
            Refusal::BadCredential => (401, "the token is not valid"),
            Refusal::ExpiredCredential => (401, "the token has expired"),
            Refusal::KeysUnavailable => (503, "the token cannot be verified at the moment; try again"),
            Refusal::Forbidden => (403, "the API key does not have the scope read"),
            Refusal::AtCapacity => (503, "the server has its maximum of streams"),
            Refusal::AddressAtCapacity => (429, "too many streams from this address"),
            Refusal::UserAtCapacity => (429, "too many streams of this user"),
            Refusal::RateLimited => (429, "too many requests"),
            Refusal::ShuttingDown => (503, "Server shutting down"),
            // Connections have no names here, so these two do not occur.
            Refusal::BadName => (400, "bad name"),
            Refusal::NameTaken => (409, "name taken"),
        };
        http::failed(status, message).into()
    }
}

/// Returns the offer of the token in the query, or else in the header. A browser may add a header of another scheme.
fn token<'a>(request: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
    let in_query = request.credential("token")?.filter(|token| !token.is_empty());
    let in_header = match request.bearer() {
        Err(_) if in_query.is_some() => None,
        bearer => bearer?,
    };
    Offer::of_one([in_query, in_header.map(Cow::Borrowed)])
}

/// Returns the position from which the client requests events. The last id of a browser's `EventSource` takes precedence
/// over the address, which is always the same.
fn since(request: &RequestHead<'_>) -> Since {
    let last = request.header("last-event-id").filter(|last| !last.is_empty());
    let since = request.parameter("since");
    let rewind = request.parameter("rewind");
    Since::of(last.or(since.as_deref()), rewind.as_deref()).unwrap_or(Since::Now)
}

/// Returns the form that `Accept` asks for: the first of the two that it names.
fn form(accept: &str) -> u8 {
    let types = accept.split(',').filter_map(|range| range.split(';').next());
    let is_own = |name: &&str| MEDIA_TYPES.iter().any(|own| own.eq_ignore_ascii_case(name));
    let named = types.map(str::trim).find(is_own);
    u8::from(named.is_some_and(|name| name.eq_ignore_ascii_case(MEDIA_TYPES[1])))
}
