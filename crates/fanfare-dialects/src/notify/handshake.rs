//! The handshake: a token in the query, and the refusals.

use fanfare_core::{Accept, Offer, Opening, Refusal, RefusalFacts, Rejection, RequestHead};

use super::Notify;

impl Accept for Notify {
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        match handshake.credential("token")? {
            Some(token) if !token.is_empty() => Ok(Offer {
                opening: Opening::of(handshake),
                ..Offer::of_token(token)
            }),
            _ => Err(Refusal::MissingCredential),
        }
    }

    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        let (status, body) = match refusal {
            Refusal::MissingCredential => (401, r#"{"error":"missing token parameter"}"#),
            Refusal::BadCredential | Refusal::ExpiredCredential => {
                (401, r#"{"error":"invalid or expired token"}"#)
            }
            Refusal::KeysUnavailable => (503, r#"{"error":"token cannot be verified at the moment"}"#),
            Refusal::Forbidden => (403, r#"{"error":"forbidden"}"#),
            Refusal::BadName => (400, r#"{"error":"bad name"}"#),
            Refusal::NameTaken => (409, r#"{"error":"name taken"}"#),
            Refusal::AtCapacity | Refusal::AddressAtCapacity | Refusal::UserAtCapacity => (503, ""),
            Refusal::RateLimited => (429, r#"{"error":"too many requests"}"#),
            Refusal::ShuttingDown => (503, r#"{"error":"Server shutting down"}"#),
        };
        Rejection::http(status, body)
    }
}
