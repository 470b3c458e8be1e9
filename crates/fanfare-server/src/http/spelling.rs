//! Spells the headers of a handshake's response as RFC 6455 does, because some embedded clients compare them exactly.

use std::{cell::RefCell, convert::Infallible, future::ready, sync::LazyLock};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::reply::Reply;

/// A request whose header names have the wanted spelling.
const MODEL: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: -\r\nConnection: -\r\nSec-WebSocket-Accept: -\r\n\
    Sec-WebSocket-Extensions: -\r\nSec-WebSocket-Protocol: -\r\nSec-WebSocket-Version: -\r\n\r\n";

/// The extensions of [`MODEL`], as hyper has read it. Hyper writes header names in lower case, unless the response has the extensions of a
/// request whose spelling it has kept for a proxy.
static SPELLED: LazyLock<Extensions> = LazyLock::new(|| {
    let read = RefCell::new(Extensions::new());
    let keep = service_fn(|request: Request<Incoming>| {
        read.replace(request.into_parts().0.extensions);
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let stream = TokioIo::new(tokio::io::join(MODEL, tokio::io::sink()));
    let mut http = http1::Builder::new();
    let reading = http.preserve_header_case(true).serve_connection(stream, keep);
    let _ = reading.now_or_never(); // the request is in memory
    let mut spelled = read.into_inner();
    spelled.remove::<OnUpgrade>();
    spelled
});

/// Spells the names of the handshake's headers in `reply` as RFC 6455 does.
pub(super) fn spell(reply: &mut Reply) {
    reply.extensions_mut().extend(SPELLED.clone());
}

#[cfg(test)]
mod tests {
    use crate::http::reply_body::ReplyBody;
    use http::{HeaderValue, StatusCode, header};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Returns the head that hyper writes for a response with these headers.
    async fn written(answer: impl Fn() -> Reply) -> String {
        let (mut client, server) = duplex(4096);
        let service = service_fn(|_: Request<Incoming>| ready(Ok::<_, Infallible>(answer())));
        let mut http = http1::Builder::new();
        let serving = http
            .auto_date_header(false)
            .serve_connection(TokioIo::new(server), service);
        let request = b"GET / HTTP/1.1\r\n\r\n";
        assert!(client.write_all(request).await.is_ok());
        let _ = serving.with_upgrades().await;
        let mut text = String::new();
        assert!(client.read_to_string(&mut text).await.is_ok());
        text
    }

    #[tokio::test]
    async fn names_are_spelled_as_in_the_rfc() {
        let names = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (header::SEC_WEBSOCKET_PROTOCOL, "access_token.x"),
            (header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
        ];
        let text = written(|| {
            let mut reply = Response::new(ReplyBody::default());
            *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in names.clone() {
                reply.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            spell(&mut reply);
            reply
        });
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: access_token.x\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        assert_eq!(text.await, expected);
    }
}
