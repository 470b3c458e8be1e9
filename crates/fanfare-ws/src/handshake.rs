//! Checks the request of the opening handshake (RFC 6455, section 4.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::header::{CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};

/// The suffix of the key in its hash (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The last character of 16 bytes in base64 has spare bits. They may be set, as in the RFC's example of a key.
const KEY_ENGINE: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The reason why a request cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The method is not GET.
    #[error("a WebSocket is opened with GET")]
    NotGet,
    /// The version is not HTTP/1.1: HTTP/1.0 has no upgrade, and HTTP/2 has another one.
    #[error("a WebSocket is opened with HTTP/1.1")]
    NotHttp11,
    /// `Upgrade` does not name `websocket`.
    #[error("this is a WebSocket endpoint, and the request has no header Upgrade: websocket")]
    NotWebSocket,
    /// `Connection` does not name `upgrade`, typically because a proxy removed it.
    #[error("header Connection: upgrade is missing")]
    NoUpgrade,
    /// `Host` is missing or repeated.
    #[error("exactly one header Host is needed")]
    BadHost,
    /// The version of the protocol is not 13.
    #[error("only WebSocket version 13 is spoken here")]
    BadVersion,
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in base64.
    #[error("exactly one header Sec-WebSocket-Key of 16 bytes in base64 is needed")]
    BadKey,
}

impl HandshakeError {
    /// Returns the response's status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotWebSocket | Self::BadVersion => StatusCode::UPGRADE_REQUIRED,
            Self::NotHttp11 | Self::NoUpgrade | Self::BadHost | Self::BadKey => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the headers that the response must have.
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::NotGet => &[("allow", "GET")],
            Self::NotWebSocket | Self::BadVersion => &[
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-version", "13"),
            ],
            Self::NotHttp11 | Self::NoUpgrade | Self::BadHost | Self::BadKey => &[],
        }
    }
}

/// Returns `true` if `Upgrade` names `websocket`, even if the request is otherwise invalid.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    lists(headers, &UPGRADE, "websocket")
}

/// Checks an upgrade request, and returns the `Sec-WebSocket-Accept` of the response.
///
/// # Errors
/// Returns the first error of the request.
pub fn check(request: &Parts) -> Result<String, HandshakeError> {
    let headers = &request.headers;
    if request.method != Method::GET {
        return Err(HandshakeError::NotGet);
    }
    if !is_upgrade(headers) {
        return Err(HandshakeError::NotWebSocket);
    }
    if request.version != Version::HTTP_11 {
        return Err(HandshakeError::NotHttp11);
    }
    if !lists(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::NoUpgrade);
    }
    if only(headers, &HOST).is_none() {
        return Err(HandshakeError::BadHost);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HandshakeError::BadVersion);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key))
        .ok_or(HandshakeError::BadKey)?;
    Ok(accept_key(key))
}

/// Returns the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    ))
}

fn is_key(key: &str) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && KEY_ENGINE.decode_slice(key, &mut bytes) == Ok(16)
}

/// Returns the value of a header that is present exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim_ascii())
}

/// Returns `true` if a header's list contains `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.any(|value| {
        value
            .split(',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    /// Returns a valid request with some headers replaced or, by an empty value, removed.
    fn request(changes: &[(&str, &str)]) -> Parts {
        let good = [
            ("host", "example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            KEY,
        ];
        let kept = good
            .iter()
            .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let headers = kept.chain(changes).filter(|(_, value)| !value.is_empty());
        headers
            .fold(Request::get("/"), |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn the_accept_key_of_the_rfc_is_computed() {
        assert_eq!(accept_key(KEY.1), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            check(&request(&[])),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned())
        );
    }

    #[test]
    fn valid_requests_are_accepted() {
        for changes in [
            &[("upgrade", "WebSocket")][..],
            &[("upgrade", "h2c, websocket")],
            &[("upgrade", "h2c"), ("upgrade", "WEBSOCKET")],
            &[("connection", "keep-alive, Upgrade")],
            &[("connection", "keep-alive"), ("connection", "upgrade")],
            &[("sec-websocket-key", "AQIDBAUGBwgJCgsMDQ4PEC==")], // RFC 6455, section 4.1
        ] {
            assert!(check(&request(changes)).is_ok(), "{changes:?}");
        }
    }

    #[test]
    fn invalid_headers_are_refused() {
        use HandshakeError::{BadHost, BadKey, BadVersion, NoUpgrade, NotWebSocket};
        let check = |changes: &[(&str, &str)], error: HandshakeError, status: u16| {
            assert_eq!(check(&request(changes)), Err(error), "{changes:?}");
            assert_eq!(error.status().as_u16(), status);
        };
        check(&[("upgrade", "")], NotWebSocket, 426);
        check(&[("upgrade", "websockets")], NotWebSocket, 426);
        check(&[("connection", "")], NoUpgrade, 400);
        check(&[("connection", "keep-alive")], NoUpgrade, 400);
        check(&[("host", "")], BadHost, 400);
        check(&[("host", "a"), ("host", "b")], BadHost, 400);
        check(&[("sec-websocket-version", "")], BadVersion, 426);
        check(&[("sec-websocket-version", "8")], BadVersion, 426);
        check(
            &[("sec-websocket-version", "13"), ("sec-websocket-version", "13")],
            BadVersion,
            426,
        );
        check(&[("sec-websocket-key", "")], BadKey, 400);
        check(&[KEY, KEY], BadKey, 400);
        check(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j")], BadKey, 400); // 15 bytes
        check(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWQ=")], BadKey, 400); // 17 bytes
        check(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], BadKey, 400); // no padding
        check(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=!")], BadKey, 400);
        assert!(BadVersion.headers().contains(&("sec-websocket-version", "13")));
    }

    #[test]
    fn other_methods_and_versions_are_refused() {
        let mut post = request(&[]);
        post.method = Method::POST;
        assert_eq!(check(&post), Err(HandshakeError::NotGet));
        assert_eq!(HandshakeError::NotGet.status(), StatusCode::METHOD_NOT_ALLOWED);
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut other = request(&[]);
            other.version = version;
            assert_eq!(check(&other), Err(HandshakeError::NotHttp11));
        }
    }
}
