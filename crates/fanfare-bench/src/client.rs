//! A minimal WebSocket client: connects, upgrades, subscribes and closes.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use fanfare_core::{ListenMessage, ListenPlan};
use fanfare_ws::{Opcode, encode};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::frames;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest response to an upgrade request; real ones are far shorter.
const MAX_RESPONSE: usize = 4096;

pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let connected = timeout(TIMEOUT, TcpStream::connect(address)).await;
    let socket = connected
        .map_err(|_| format!("no connection to {address} in {TIMEOUT:?}"))?
        .map_err(|error| format!("cannot connect to {address}: {error}"))?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(socket)
}

#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    request: Vec<u8>,
    /// The messages to send after the upgrade, framed.
    frames: Vec<u8>,
    confirmations: usize,
    classifier: Classifier,
}

#[derive(Debug, Clone)]
enum Classifier {
    Dialect(fn(&str) -> ListenMessage),
    /// A message with this text is the confirmation.
    Contains(Vec<u8>),
}

impl Classifier {
    fn classify(&self, message: &[u8]) -> ListenMessage {
        match self {
            Self::Dialect(classify) => classify(&String::from_utf8_lossy(message)),
            Self::Contains(text) if memmem::find(message, text).is_some() => ListenMessage::Confirmed,
            Self::Contains(_) => ListenMessage::Other,
        }
    }
}

impl Upgrade {
    pub(crate) fn new(address: SocketAddr, plan: &ListenPlan) -> Self {
        let frames = plan.frames.iter();
        Self {
            request: request(address, &plan.target, &[]),
            frames: frames
                .flat_map(|text| frame(Opcode::Text, text.as_bytes()))
                .collect(),
            confirmations: plan.confirmations,
            classifier: Classifier::Dialect(plan.classify),
        }
    }

    /// Returns an upgrade with `headers`, after which the client sends `frames` and waits for a message that contains
    /// `confirmation`.
    pub(crate) fn scripted(
        address: SocketAddr,
        target: &str,
        headers: &[String],
        frames: Vec<u8>,
        confirmation: Option<Vec<u8>>,
    ) -> Self {
        Self {
            request: request(address, target, headers),
            frames,
            confirmations: usize::from(confirmation.is_some()),
            classifier: Classifier::Contains(confirmation.unwrap_or_default()),
        }
    }
}

pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> BytesMut {
    encode::masked_frame(opcode, payload, [1, 2, 3, 4])
}

/// Returns the request that a browser would send for `target`, with the additional `headers`.
fn request(address: SocketAddr, target: &str, headers: &[String]) -> Vec<u8> {
    let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZmFuZmFyZSBiZW5jaG1hcg==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Connects, upgrades and subscribes. Returns the socket, and the bytes of events that have already arrived.
pub(crate) async fn upgrade(address: SocketAddr, upgrade: &Upgrade) -> Result<(TcpStream, Vec<u8>), String> {
    let mut socket = connect(address).await?;
    let upgraded = async {
        let early = send_request(&mut socket, &upgrade.request).await?;
        subscribe(&mut socket, upgrade, early).await
    };
    let early = timeout(TIMEOUT, upgraded).await;
    let early = early.map_err(|_| format!("no response to an upgrade request in {TIMEOUT:?}"))??;
    Ok((socket, early))
}

/// Sends the subscriptions and waits for the confirmations. Returns the rest of `input`.
async fn subscribe(socket: &mut TcpStream, upgrade: &Upgrade, mut input: Vec<u8>) -> Result<Vec<u8>, String> {
    let failed = |error| format!("subscribing: {error}");
    socket.write_all(&upgrade.frames).await.map_err(failed)?;
    let mut left = upgrade.confirmations;
    while left > 0 {
        let Some((text, len)) = frames::first(&input) else {
            if socket.read_buf(&mut input).await.map_err(failed)? == 0 {
                return Err("subscribing: the server closed the connection".into());
            }
            continue;
        };
        match upgrade.classifier.classify(text) {
            ListenMessage::Confirmed => left -= 1,
            ListenMessage::Refused(reason) => return Err(format!("subscribing: {reason}")),
            ListenMessage::Event | ListenMessage::Other => {}
        }
        input.drain(..len);
    }
    Ok(input)
}

/// Sends an upgrade request. Returns the bytes after the head of its response.
async fn send_request(socket: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error| format!("upgrade: {error}");
    socket.write_all(request).await.map_err(failed)?;
    let mut response = Vec::with_capacity(512);
    loop {
        if socket.read_buf(&mut response).await.map_err(failed)? == 0 || response.len() > MAX_RESPONSE {
            return Err("upgrade: incomplete response".into());
        }
        if let Some(end) = memmem::find(&response, b"\r\n\r\n") {
            let line = response.split(|byte| *byte == b'\r').next().unwrap_or_default();
            if !line.starts_with(b"HTTP/1.1 101 ") {
                return Err(format!(
                    "upgrade: the server responded with {}",
                    line.escape_ascii()
                ));
            }
            return Ok(response.split_off(end + 4));
        }
    }
}

/// Makes the closing handshake (RFC 6455, section 7.1.1): sends a close frame, then reads to the end of the stream.
pub(crate) async fn close(mut socket: TcpStream) -> Result<(), String> {
    let close_frame = frame(Opcode::Close, &1000_u16.to_be_bytes());
    let mut rest = Vec::new();
    let closed = async {
        socket.write_all(&close_frame).await?;
        (&mut socket)
            .take(MAX_RESPONSE as u64)
            .read_to_end(&mut rest)
            .await
    };
    let closed = timeout(TIMEOUT, closed).await;
    closed
        .map_err(|_| format!("no end of the connection {TIMEOUT:?} after our close frame"))?
        .map_err(|error| format!("closing: {error}"))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the result of `upgrade` for a response that arrives in two pieces.
    async fn upgrade_with_response(
        confirmations: usize,
        first: &'static [u8],
        second: &'static [u8],
    ) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            socket.write_all(second).await.unwrap();
            socket.shutdown().await.unwrap();
            socket // the socket closes after everything is read; unread bytes would reset the connection
        };
        let plan = ListenPlan {
            frames: vec!["hello".into()],
            confirmations,
            ..ListenPlan::connect("/ws", &[], |text| match text {
                "yes" => ListenMessage::Confirmed,
                "no" => ListenMessage::Refused("why".into()),
                _ => ListenMessage::Other,
            })
        };
        let request = Upgrade::new(address, &plan);
        tokio::join!(upgrade(address, &request), serving)
            .0
            .map(|(_, early)| early)
    }

    #[tokio::test]
    async fn bytes_after_the_response_of_the_handshake_are_kept() {
        let upgraded = upgrade_with_response(
            0,
            b"HTTP/1.1 101 Switching Pro",
            b"tocols\r\nA: b\r\n\r\n\x81\x00",
        )
        .await;
        assert_eq!(upgraded.as_deref(), Ok(&b"\x81\x00"[..]));
    }

    #[tokio::test]
    async fn an_upgrade_fails_unless_every_subscription_is_confirmed() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi\x81\x03y";
        for (rest, expected) in [
            (&b"es\x81\x03yes\x81\x04next"[..], Ok(true)),
            (b"es\x81\x02no\x81\x03yes", Err("subscribing: why")),
            (b"es", Err("subscribing: the server closed the connection")),
        ] {
            let upgraded = upgrade_with_response(2, head, rest).await;
            // A part of the event may still be in the socket.
            let left = upgraded.map(|early| b"\x81\x04next".starts_with(&early));
            assert_eq!(
                left.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text)
            );
        }
    }

    #[tokio::test]
    async fn a_refused_upgrade_fails_with_its_status_line() {
        let upgraded = upgrade_with_response(0, b"HTTP/1.1 401 Unauthorized\r\n", b"\r\nwhy").await;
        assert_eq!(
            upgraded.unwrap_err(),
            "upgrade: the server responded with HTTP/1.1 401 Unauthorized"
        );
    }
}
