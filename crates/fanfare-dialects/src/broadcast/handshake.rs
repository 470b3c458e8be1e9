//! The handshake: the token, the client's name, and the texts of refusals.

use std::borrow::Cow;

use fanfare_core::{Accept, HttpError, Offer, Opening, Refusal, RefusalFacts, Rejection, RequestHead};
use uuid::Uuid;

use super::{Broadcast, errors};

const MAX_CLIENT_ID: usize = 128;
/// The longest part of a `client_id` that fits into the reason of a close frame (123 bytes) together with the
/// text around it.
const MAX_SHOWN: usize = 123 - "Client  is already connected".len();

impl Accept for Broadcast {
    /// A token in the query or in a header proves a user; `client_id` is a name without proof. Both are optional.
    fn offer<'a>(&self, handshake: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        let (query, bearer) = (handshake.credential("token")?, handshake.bearer()?);
        let offer = Offer::of_one([query, bearer.map(Cow::Borrowed)])?;
        let name = handshake.parameter("client_id").filter(|name| !name.is_empty());
        if name.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(Refusal::BadName);
        }
        Ok(Offer {
            name,
            keep_user_agent: true, // `/status` shows it
            opening: Opening::of(handshake),
            ..offer
        })
    }

    fn name_for(&self, connection: Uuid) -> Option<String> {
        Some(name_for(connection))
    }

    /// Refuses by a close frame at a limit or a taken name, because a browser hides an HTTP response from its page.
    fn refuse(&self, refusal: Refusal, about: &RefusalFacts<'_>) -> Rejection {
        let close = |reason: String| Rejection::close(1008, reason);
        let http = |status, message| {
            let (id, now) = (about.id, about.now);
            let error = HttpError {
                status,
                message,
                id,
                now,
            };
            errors::reply(&error).into()
        };
        match refusal {
            Refusal::MissingCredential => http(401, "Token required"),
            Refusal::BadCredential => http(401, "Invalid token"),
            Refusal::ExpiredCredential => http(401, "Token expired"),
            Refusal::KeysUnavailable => http(503, "Token cannot be verified at the moment"),
            Refusal::Forbidden => http(403, "Forbidden"),
            Refusal::BadName => http(
                400,
                "client_id must be at most 128 bytes, without control characters",
            ),
            Refusal::NameTaken => {
                let name = cut(about.name.unwrap_or("unknown"), MAX_SHOWN);
                close(format!("Client {name} is already connected"))
            }
            Refusal::AtCapacity => {
                let (active, most) = (about.active, about.max_connections);
                close(format!("Connection limit exceeded: {active}/{most}"))
            }
            Refusal::AddressAtCapacity => close("Connection limit exceeded for this address".into()),
            Refusal::UserAtCapacity => close("Connection limit exceeded for this user".into()),
            Refusal::RateLimited => http(429, "Too many requests"),
            Refusal::ShuttingDown => http(503, "Server shutting down"),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_CLIENT_ID && !text.chars().any(char::is_control)
}

pub(super) fn name_for(connection: Uuid) -> String {
    format!("client_{}", tail(connection))
}

pub(super) fn tail(id: Uuid) -> String {
    format!("{:012x}", id.as_u128() & 0xffff_ffff_ffff)
}

/// Returns the beginning of `text`: at most `most` bytes, without a partial character.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let fits = |end: &usize| *end <= most;
    let ends = text.char_indices().map(|(at, one)| at + one.len_utf8());
    &text[..ends.take_while(fits).last().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, most, expected) in [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("a\u{e9}\u{e9}", 3, "a\u{e9}"),
            ("a\u{e9}\u{e9}", 4, "a\u{e9}"),
            ("\u{1f3ba}", 3, ""),
        ] {
            assert_eq!(cut(text, most), expected, "{text} {most}");
        }
    }

    #[test]
    fn a_client_without_a_name_is_named_by_the_random_part_of_its_id() {
        let id = Uuid::from_u128(0x0190_1234_5678_7abc_9def_0123_4567_89ab);
        assert_eq!(name_for(id), "client_0123456789ab");
    }

    #[test]
    fn the_user_agent_of_a_client_is_kept() {
        let none = |_: &str| None;
        let dialect = Broadcast {
            notification_interval: std::time::Duration::ZERO,
        };
        let offer = dialect.offer(&RequestHead::new("", &none)).expect("an offer");
        assert!(offer.keep_user_agent);
    }
}
