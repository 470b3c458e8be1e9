//! The handshake: every client may connect within the limits, and authenticates later.

use fanfare_core::{Accept, Offer, Refusal, RefusalFacts, Rejection, RequestHead};

use super::{Topics, conversation, http::reply};

impl Accept for Topics {
    fn offer<'a>(&self, _: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }

    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        let http = |status, error| reply(status, error).into();
        match refusal {
            Refusal::AtCapacity => Rejection::close(1008, "server at capacity"),
            Refusal::AddressAtCapacity => Rejection::close(1008, "too many connections from this address"),
            Refusal::UserAtCapacity => Rejection::close(1008, conversation::TOO_MANY_OF_USER),
            Refusal::MissingCredential => http(401, "Authentication required"),
            Refusal::BadCredential => http(401, "Invalid token"),
            Refusal::ExpiredCredential => http(401, "Token expired"),
            Refusal::KeysUnavailable => http(503, "Token cannot be verified at the moment"),
            Refusal::Forbidden => http(403, "Forbidden"),
            Refusal::BadName => http(400, "Bad name"),
            Refusal::NameTaken => http(409, "Name taken"),
            Refusal::RateLimited => http(429, "Too many requests"),
            Refusal::ShuttingDown => http(503, "Server shutting down"),
        }
    }
}
