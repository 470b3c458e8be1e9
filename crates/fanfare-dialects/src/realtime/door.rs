//! The handshake: the token is in the query, in `Authorization: Bearer`, or in a subprotocol
//! `access_token.<token>`, for browsers, which cannot set headers.

use std::borrow::Cow;

use fanfare_core::{Handshake, Offer, Refusal};

/// The prefix of a subprotocol with a token.
const TOKEN_PREFIX: &str = "access_token.";

/// Returns whether a handshake on a shared path is for this dialect.
pub(super) fn claims(handshake: &Handshake<'_>) -> bool {
    handshake.header("authorization").is_some()
        || token_protocol(handshake).is_some()
        || handshake.parameter("dialect").as_deref() == Some("realtime")
}

/// Returns the token, and the subprotocol that it was in: a browser fails the connection unless the server
/// selects one that it offered.
///
/// An empty token counts as none, in the subprotocol too. The same token may be in several places; two
/// different ones are refused.
pub(super) fn offer<'a>(handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
    let protocol = token_protocol(handshake);
    let ways = [
        handshake.credential("token")?,
        handshake.bearer()?.map(Cow::Borrowed),
        protocol
            .and_then(|protocol| protocol.strip_prefix(TOKEN_PREFIX))
            .map(Cow::Borrowed),
    ];
    let mut tokens = ways.into_iter().flatten().filter(|token| !token.is_empty());
    let token = tokens.next();
    if tokens.any(|other| token.as_ref() != Some(&other)) {
        return Err(Refusal::BadCredential);
    }
    Ok(Offer {
        token,
        subprotocol: protocol.map(Cow::Borrowed),
        ..Offer::default()
    })
}

/// Returns the first subprotocol with a token.
fn token_protocol<'a>(handshake: &Handshake<'a>) -> Option<&'a str> {
    let offered = handshake.header("sec-websocket-protocol")?;
    offered
        .split(',')
        .map(str::trim)
        .find(|protocol| protocol.starts_with(TOKEN_PREFIX))
}
