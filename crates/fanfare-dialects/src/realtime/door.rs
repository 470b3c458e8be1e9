//! An upgrade request: a token may come in the query, in `Authorization: Bearer`, or, for browsers, which can set no
//! header, in a subprotocol `access_token.<token>`.

use std::borrow::Cow;

use fanfare_core::{Handshake, Offer, Refusal};

/// What a subprotocol with a token begins with.
const TOKEN_PREFIX: &str = "access_token.";

/// Whether a request to a path that is also another dialect's is meant for this one.
pub(super) fn claims(handshake: &Handshake<'_>) -> bool {
    handshake.header("authorization").is_some()
        || token_protocol(handshake).is_some()
        || handshake.parameter("dialect").as_deref() == Some("realtime")
}

/// The token, and the subprotocol it came in: a browser gives up unless one that it named is agreed to.
///
/// An empty token counts as none, in the subprotocol too. The same token may come by several ways; of two different
/// ones nobody knows which is meant.
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

/// The first subprotocol with a token in it.
fn token_protocol<'a>(handshake: &Handshake<'a>) -> Option<&'a str> {
    let offered = handshake.header("sec-websocket-protocol")?;
    offered
        .split(',')
        .map(str::trim)
        .find(|protocol| protocol.starts_with(TOKEN_PREFIX))
}
