//! Negotiates permessage-deflate (RFC 6455, section 9.1; RFC 7692, sections 5 and 7.1).

use std::borrow::Cow;

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

/// The negotiated compression of one connection. Context takeover is always off in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParams {
    /// The binary logarithm of the server's maximum window size: 8 to 15.
    pub server_max_window_bits: u8,
}

/// An accepted offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The parameters for [`crate::Limits::deflate`] and [`crate::Deflater`].
    pub params: DeflateParams,
    /// The `Sec-WebSocket-Extensions` of the response.
    pub answer: HeaderValue,
}

/// The header does not follow the grammar, so the handshake must fail with the status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed Sec-WebSocket-Extensions")]
pub struct Malformed;

/// Returns the first acceptable offer of the client; `None` if there is none.
///
/// Other extensions are ignored. An offer of permessage-deflate with an unknown, repeated or invalid parameter is
/// declined (RFC 7692, section 7.1), because a simpler offer may follow.
///
/// # Errors
///
/// [`Malformed`] if a header does not follow the grammar.
pub fn negotiate(headers: &HeaderMap) -> Result<Option<Agreement>, Malformed> {
    let mut chosen = None;
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut text = Parser {
            rest: value.to_str().map_err(|_| Malformed)?,
        };
        // After the choice, the rest is parsed too: all of the header must follow the grammar.
        while let Some(offer) = text.offer()? {
            chosen = chosen.or_else(|| accept(&offer));
        }
    }
    Ok(chosen)
}

struct Offer<'h> {
    name: &'h str,
    parameters: Vec<(&'h str, Option<Cow<'h, str>>)>,
}

/// Returns the agreement for `offer` if it is acceptable. The response turns context takeover off in both directions: a
/// window for each connection would take more memory than the rest of the connection. A server may do that without
/// an offer of the client (RFC 7692, section 7.1.1.2). The client's window may have any size, because one inflater with
/// the largest window serves all connections.
fn accept(offer: &Offer<'_>) -> Option<Agreement> {
    if offer.name != "permessage-deflate" {
        return None;
    }
    let mut server_bits = None;
    for (index, (name, value)) in offer.parameters.iter().enumerate() {
        if offer.parameters[..index]
            .iter()
            .any(|(earlier, _)| earlier == name)
        {
            return None;
        }
        match (*name, value.as_deref()) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("server_max_window_bits", Some(value)) => server_bits = Some(window_bits(value)?),
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
            }
            _ => return None,
        }
    }
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let answer = match server_bits {
        // The response accepts the parameter by a repetition, even if the value is the maximum (section 7.1.2.1).
        Some(bits) => HeaderValue::try_from(format!("{plain}; server_max_window_bits={bits}")).ok()?,
        None => HeaderValue::from_static(plain),
    };
    Some(Agreement {
        params: DeflateParams {
            server_max_window_bits: server_bits.unwrap_or(15),
        },
        answer,
    })
}

/// Parses 8 to 15 in decimal, without leading zeroes (RFC 7692, section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let plain = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    value.parse().ok().filter(|bits| plain && (8..=15).contains(bits))
}

/// A parser of the header, with its remaining text.
struct Parser<'h> {
    rest: &'h str,
}

impl<'h> Parser<'h> {
    /// Parses the next element of the list: `token *( ";" token [ "=" ( token | quoted-string ) ] )`.
    fn offer(&mut self) -> Result<Option<Offer<'h>>, Malformed> {
        // Lists may have empty elements (RFC 9110, section 5.6.1.2).
        while self.sign(',') {}
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut offer = Offer {
            name: self.token()?,
            parameters: Vec::new(),
        };
        while self.sign(';') {
            let name = self.token()?;
            let value = if self.sign('=') { Some(self.value()?) } else { None };
            offer.parameters.push((name, value));
        }
        if self.rest.is_empty() || self.sign(',') {
            Ok(Some(offer))
        } else {
            Err(Malformed)
        }
    }

    /// Skips blanks. If `sign` is next, skips it and the blanks after it, and returns `true`.
    fn sign(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<&'h str, Malformed> {
        let end = self
            .rest
            .bytes()
            .position(|byte| !is_token(byte))
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// Parses a token, or a quoted string with a token in it (RFC 6455, section 9.1).
    fn value(&mut self) -> Result<Cow<'h, str>, Malformed> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.token().map(Cow::Borrowed);
        };
        let mut value = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => value.push(chars.next().ok_or(Malformed)?),
                Some(char) => value.push(char),
                None => return Err(Malformed),
            }
        }
        self.rest = chars.as_str();
        if value.is_empty() || !value.bytes().all(is_token) {
            Err(Malformed)
        } else {
            Ok(Cow::Owned(value))
        }
    }
}

/// Returns `true` if tokens may contain `byte` (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn agreed(headers: &[&str]) -> Result<Option<Agreement>, Malformed> {
        let value = |text: &&str| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(text).unwrap());
        negotiate(&headers.iter().map(value).collect())
    }

    fn negotiated(headers: &[&str]) -> Result<Option<u8>, Malformed> {
        agreed(headers).map(|agreed| agreed.map(|agreed| agreed.params.server_max_window_bits))
    }

    #[test]
    fn offers() {
        let check = |header: &str, expected: Option<u8>| {
            assert_eq!(negotiated(&[header]), Ok(expected), "{header}");
        };
        check("", None);
        check("permessage-deflate", Some(15));
        check("permessage-deflate; client_max_window_bits", Some(15));
        check("permessage-deflate;client_max_window_bits=8", Some(15));
        check(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Some(15),
        );
        check("permessage-deflate ;\tserver_max_window_bits = 10", Some(10));
        check("permessage-deflate; server_max_window_bits=8", Some(8));
        check("permessage-deflate; server_max_window_bits=\"1\\2\"", Some(12));
        check(", ,permessage-deflate,,", Some(15));
        check("x-webkit-deflate-frame; no_context_takeover", None);
        check("foo; a=\"b\"; c, permessage-deflate", Some(15));
        // The first acceptable offer
        check(
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            Some(9),
        );
        check(
            "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=11",
            Some(11),
        );
        // Offers that are declined
        check("permessage-deflate; unknown", None);
        check("permessage-deflate; server_max_window_bits", None);
        check("permessage-deflate; server_max_window_bits=7", None);
        check("permessage-deflate; server_max_window_bits=16", None);
        check("permessage-deflate; server_max_window_bits=09", None);
        check("permessage-deflate; server_max_window_bits=+9", None);
        check(
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            None,
        );
        check(
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            None,
        );
        check("permessage-deflate; client_max_window_bits=99", None);
        check("permessage-deflate; server_no_context_takeover=1", None);
        check(
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            None,
        );
    }

    #[test]
    fn several_headers_are_one_list() {
        let unknown = "permessage-deflate; unknown";
        assert_eq!(
            negotiated(&[unknown, "permessage-deflate; server_max_window_bits=9"]),
            Ok(Some(9))
        );
        assert_eq!(negotiated(&[unknown, unknown]), Ok(None));
        assert_eq!(negotiated(&["permessage-deflate", "="]), Err(Malformed));
        assert_eq!(negotiated(&[]), Ok(None));
    }

    #[test]
    fn malformed() {
        for header in [
            ";",
            "a;",
            "a;;b",
            "a b",
            "a=b",
            "a; b=",
            "a; =b",
            "a; b=\"c",
            "a; b=\"\"",
            "a; b=\"c d\"",
            "a; b=\"c\\",
            "permessage-deflate, (",
            "a; b=\"c\"d",
        ] {
            assert_eq!(negotiated(&[header]), Err(Malformed), "{header}");
        }
    }

    #[test]
    fn answers() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        let answer = |offer: &str| agreed(&[offer]).unwrap().unwrap().answer;
        assert_eq!(answer("permessage-deflate; client_max_window_bits=10"), plain);
        for bits in 8..=15 {
            let answer = answer(&format!("permessage-deflate; server_max_window_bits={bits}"));
            assert_eq!(answer, format!("{plain}; server_max_window_bits={bits}"));
        }
    }
}
