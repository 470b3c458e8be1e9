//! The handshake: a token in the query or a header, and the refusals.

use fanfare_core::{Accept, Identity, Offer, Opening, Refusal, RefusalFacts, Rejection, RequestHead};

use super::{FORBIDDEN, Rooms, UNAUTHENTICATED};

const TOO_MANY: u16 = 4429;

impl Accept for Rooms {
    /// The token in the query takes precedence, because a browser may add a header of another scheme.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        let offer = match handshake.credential("token")? {
            Some(token) if !token.is_empty() => Offer::of_token(token),
            _ => Offer::of_token(handshake.bearer()?.ok_or(Refusal::MissingCredential)?),
        };
        Ok(Offer {
            opening: opening(handshake),
            ..offer
        })
    }

    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        identity.map(|_| ()).ok_or(Refusal::MissingCredential)
    }

    /// Refuses by a close frame if the client is the cause: a browser shows its page the close code, and hides an HTTP
    /// response to the upgrade.
    fn refuse(&self, refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        match refusal {
            Refusal::MissingCredential | Refusal::BadCredential | Refusal::ExpiredCredential => {
                Rejection::close(UNAUTHENTICATED, "Authentication Failed")
            }
            Refusal::KeysUnavailable => Rejection::close(1013, "Try Again Later"),
            Refusal::Forbidden => Rejection::close(FORBIDDEN.0, FORBIDDEN.1),
            Refusal::AtCapacity
            | Refusal::AddressAtCapacity
            | Refusal::UserAtCapacity
            | Refusal::RateLimited => Rejection::close(TOO_MANY, "Too Many Connections"),
            Refusal::ShuttingDown => Rejection::http(503, r#"{"error":"Server shutting down"}"#),
            // Connections have no names here, so these two do not occur.
            Refusal::BadName => Rejection::http(400, r#"{"error":"bad name"}"#),
            Refusal::NameTaken => Rejection::http(409, r#"{"error":"name taken"}"#),
        }
    }
}

/// Returns the client's requests: missed events, and the rooms in `rooms`, separated by commas.
fn opening(handshake: &RequestHead<'_>) -> Option<Box<Opening>> {
    let rooms = handshake.parameter("rooms").unwrap_or_default();
    let rooms = rooms.split(',').filter(|room| !room.is_empty());
    let names: Vec<Box<str>> = rooms.map(Into::into).collect();
    let resume = Opening::of(handshake);
    if names.is_empty() {
        return resume;
    }
    let mut opening = resume.unwrap_or_default();
    opening.names = names;
    Some(opening)
}
