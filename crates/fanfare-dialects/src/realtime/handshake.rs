//! The handshake: the token is in the query, in `Authorization: Bearer`, or in a subprotocol
//! `access_token.<token>`, for browsers, which cannot set headers.

use std::borrow::Cow;

use fanfare_core::{
    Accept, Identity, JsonMap, Offer, Opening, Refusal, RefusalFacts, Rejection, RequestHead, fields,
};
use serde_json::json;

use super::{Realtime, frames};
use crate::api_error;

const TOKEN_PREFIX: &str = "access_token.";

impl Accept for Realtime {
    fn claims(&self, handshake: &RequestHead<'_>) -> bool {
        handshake.header("authorization").is_some()
            || token_protocol(handshake).is_some()
            || handshake.parameter("dialect").as_deref() == Some("realtime")
    }

    fn recognizes(&self, text: &str) -> bool {
        frames::read(text).is_ok()
    }

    /// Returns the token, and the subprotocol that it was in: a browser fails the connection unless the server selects
    /// one that it offered. An empty token counts as none, also in the subprotocol. The same token may be in several
    /// places; two different ones are refused.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        let protocol = token_protocol(handshake);
        let in_protocol = protocol.and_then(|protocol| protocol.strip_prefix(TOKEN_PREFIX));
        let [bearer, in_protocol] = [handshake.bearer()?, in_protocol].map(|token| token.map(Cow::Borrowed));
        let offer = Offer::of_one([handshake.credential("token")?, bearer, in_protocol])?;
        if offer.token.is_none() {
            self.admit(None)?;
        }
        Ok(Offer {
            subprotocol: protocol.map(Cow::Borrowed),
            opening: Opening::of(handshake),
            ..offer
        })
    }

    /// With required roles, a token is required, so an anonymous client cannot avoid them.
    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        match identity {
            Some(user) if self.required_roles.iter().all(|role| user.has_role(role)) => Ok(()),
            Some(_) => Err(Refusal::Forbidden),
            None if self.require_auth || !self.required_roles.is_empty() => Err(Refusal::MissingCredential),
            None => Ok(()),
        }
    }

    fn open_to_anyone(&self) -> Option<&'static str> {
        self.admit(None).ok().map(|()| {
            "subscribe to and publish on every public channel that no access rule closes, without a token: \
             realtime.require_auth = true forbids it"
        })
    }

    fn refuse(&self, refusal: Refusal, about: &RefusalFacts<'_>) -> Rejection {
        // Every 503 is `SERVER_FULL`, because clients retry later on it.
        let (status, code, message) = match refusal {
            Refusal::MissingCredential => (401, "INVALID_TOKEN", "Authentication token required"),
            Refusal::BadCredential => (401, "INVALID_TOKEN", "Invalid authentication token"),
            Refusal::ExpiredCredential => (401, "TOKEN_EXPIRED", "Authentication token expired"),
            Refusal::KeysUnavailable => (503, "SERVER_FULL", "Token cannot be verified at the moment"),
            Refusal::Forbidden => (403, "FORBIDDEN", "Insufficient permissions"),
            Refusal::BadName => (400, "INVALID_REQUEST", "Invalid name"),
            Refusal::NameTaken => (409, "INVALID_REQUEST", "Name taken"),
            Refusal::AtCapacity => (503, "SERVER_FULL", "Server at capacity"),
            Refusal::AddressAtCapacity => (429, "RATE_LIMITED", "Too many connections from this address"),
            Refusal::UserAtCapacity => (429, "RATE_LIMITED", "Too many connections of this user"),
            Refusal::RateLimited => (429, "RATE_LIMITED", "Too many requests"),
            Refusal::ShuttingDown => (503, "SERVER_FULL", "Server shutting down"),
        };
        let details = match refusal {
            Refusal::AtCapacity => fields(&json!({
                "active_connections": about.active,
                "max_connections": about.max_connections,
            })),
            _ => JsonMap::new(),
        };
        api_error::reply(status, code, message, details).into()
    }
}

fn token_protocol<'a>(handshake: &RequestHead<'a>) -> Option<&'a str> {
    let offered = handshake.header("sec-websocket-protocol")?;
    let mut offered = offered.split(',').map(str::trim);
    offered.find(|protocol| protocol.starts_with(TOKEN_PREFIX))
}
