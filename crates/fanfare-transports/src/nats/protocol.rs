//! NATS' client protocol: reads what a server sends and writes what a client sends. Nothing here does I/O.
//!
//! ARCHITECTURE.md has the reasons against `async-nats`.

use std::io::Write as _;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

/// The longest line of a server, in bytes: an `INFO` with the addresses of many servers.
const MAX_LINE_BYTES: usize = 128 * 1024;
/// The largest message that a server can be configured to carry, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// The beginning of a message's headers.
const VERSION: &str = "NATS/1.0";

/// An operation of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerOp {
    Info(Box<Info>),
    Message(ServerMessage),
    Ping,
    Pong,
    Ok,
    /// The server refused an operation.
    Error(String),
}

/// A server's description of itself: the fields that a node uses, all of them optional.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    /// The largest message that the server carries; 0 if it did not say.
    pub(super) max_payload: usize,
    pub(super) tls_required: bool,
    /// The text to sign with a key.
    pub(super) nonce: String,
}

/// A message that arrived by the subscription `sid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerMessage {
    pub(super) sid: u64,
    pub(super) subject: Bytes,
    /// The lines of headers. The first line has the version, and a status if there is one.
    pub(super) headers: Bytes,
    pub(super) payload: Bytes,
}

impl ServerMessage {
    /// Returns the status that replaces a reply, such as `503` if there is no subscriber.
    pub(super) fn status(&self) -> Option<u16> {
        let line = self.lines().next()?.strip_prefix(VERSION)?.trim();
        line.get(..3)?.parse().ok()
    }

    /// Returns the value of the header `name`.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Returns the values of the headers `name`, in order.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.headers)
            .unwrap_or_default()
            .split("\r\n")
    }
}

/// The server violated the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no NATS server, or it violated the protocol")]
pub(super) struct NotNats;

/// Removes and returns the first operation in `buffer`; `None` if it is incomplete.
///
/// # Errors
/// If it is not an operation of a NATS server.
pub(super) fn next(buffer: &mut BytesMut) -> Result<Option<ServerOp>, NotNats> {
    let Some(end) = memchr::memmem::find(buffer, b"\r\n") else {
        return if buffer.len() < MAX_LINE_BYTES {
            Ok(None)
        } else {
            Err(NotNats)
        };
    };
    let line = &buffer[..end];
    let (word, rest) = match memchr::memchr(b' ', line) {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[][..]),
    };
    let op = match word {
        b"MSG" => return message(buffer, end, false),
        b"HMSG" => return message(buffer, end, true),
        b"PING" => ServerOp::Ping,
        b"PONG" => ServerOp::Pong,
        b"+OK" => ServerOp::Ok,
        b"-ERR" => ServerOp::Error(String::from_utf8_lossy(rest).trim_matches('\'').to_owned()),
        b"INFO" => ServerOp::Info(serde_json::from_slice(rest).map_err(|_| NotNats)?),
        _ => return Err(NotNats),
    };
    buffer.advance(end + 2);
    Ok(Some(op))
}

/// Removes and returns the message of the line `MSG <subject> <sid> [reply] <bytes>` or
/// `HMSG <subject> <sid> [reply] <header bytes> <all bytes>`.
fn message(buffer: &mut BytesMut, end: usize, has_headers: bool) -> Result<Option<ServerOp>, NotNats> {
    let words: Vec<&[u8]> = buffer[..end]
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .collect();
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<usize>().ok();
    let (subject, sid, sizes) = match (&words[..], has_headers) {
        ([_, subject, sid, size] | [_, subject, sid, _, size], false) => {
            (subject, sid, (Some(0), number(size)))
        }
        ([_, subject, sid, headers, size] | [_, subject, sid, _, headers, size], true) => {
            (subject, sid, (number(headers), number(size)))
        }
        _ => return Err(NotNats),
    };
    let (Some(sid), (Some(headers), Some(size))) = (number(sid), sizes) else {
        return Err(NotNats);
    };
    if headers > size || size > MAX_MESSAGE_BYTES {
        return Err(NotNats);
    }
    let whole = end + 2 + size + 2;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    // Copied, so that a small message does not retain the whole buffer.
    let subject = Bytes::copy_from_slice(subject);
    let body = &buffer[end + 2..end + 2 + size];
    let message = ServerMessage {
        sid: sid as u64,
        subject,
        headers: Bytes::copy_from_slice(&body[..headers]),
        payload: Bytes::copy_from_slice(&body[headers..]),
    };
    buffer.advance(whole);
    Ok(Some(ServerOp::Message(message)))
}

// The operations of a client.

pub(super) const PING: &[u8] = b"PING\r\n";
pub(super) const PONG: &[u8] = b"PONG\r\n";

/// A message to publish. The subject has no space, and no text has a line break.
pub(super) struct Publish {
    pub(super) subject: String,
    /// The names and values.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) payload: Bytes,
}

impl Publish {
    /// Appends the message to `out`. With `reply`, the receiver replies on that subject.
    pub(super) fn write(&self, reply: Option<&str>, out: &mut Vec<u8>) {
        let reply = reply.map_or(String::new(), |reply| format!("{reply} "));
        let (subject, size) = (&self.subject, self.payload.len());
        let headers = self.headers();
        // Writing to a vector never fails.
        let _ = if headers.is_empty() {
            write!(out, "PUB {subject} {reply}{size}\r\n")
        } else {
            let length = headers.len();
            write!(
                out,
                "HPUB {subject} {reply}{length} {}\r\n{headers}",
                length + size
            )
        };
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(b"\r\n");
    }

    /// Returns the size that the server's `max_payload` limits.
    pub(super) fn size(&self) -> usize {
        self.headers().len() + self.payload.len()
    }

    fn headers(&self) -> String {
        if self.headers.is_empty() {
            return String::new();
        }
        let mut text = format!("{VERSION}\r\n");
        for (name, value) in &self.headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text
    }
}

/// Appends a subscription to `subject` to `out`.
pub(super) fn subscribe(subject: &str, sid: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "SUB {subject} {sid}\r\n");
}

/// Appends the end of a subscription to `out`.
pub(super) fn unsubscribe(sid: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "UNSUB {sid}\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Returns all operations in `text`, which arrives `step` bytes at a time.
    fn read(text: &[u8], step: usize) -> Result<Vec<ServerOp>, NotNats> {
        let (mut buffer, mut ops) = (BytesMut::new(), Vec::new());
        for part in text.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(op) = next(&mut buffer)? {
                ops.push(op);
            }
        }
        assert!(buffer.is_empty());
        Ok(ops)
    }

    fn arrived(sid: u64, subject: &'static str, headers: &'static str, payload: &'static [u8]) -> ServerOp {
        ServerOp::Message(ServerMessage {
            sid,
            subject: subject.into(),
            headers: headers.into(),
            payload: payload.into(),
        })
    }

    #[test]
    fn operations_of_a_server_are_read() {
        let text =
            b"INFO {\"version\":\"2.9.10\",\"max_payload\":1048576,\"host\":\"localhost\",\"x\":[]} \r\n\
            PING\r\nPONG\r\n+OK\r\n-ERR 'Stale Connection'\r\n\
            MSG a.b 7 5\r\nh\r\nlo\r\nMSG a*b 8 _INBOX.1 0\r\n\r\n\
            HMSG s 9 12 14\r\nNATS/1.0\r\n\r\nhi\r\n\
            HMSG s 9 _INBOX.1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        let expected = [
            ServerOp::Info(Box::new(Info {
                max_payload: 1_048_576,
                ..Info::default()
            })),
            ServerOp::Ping,
            ServerOp::Pong,
            ServerOp::Ok,
            ServerOp::Error("Stale Connection".to_owned()),
            arrived(7, "a.b", "", b"h\r\nlo"),
            arrived(8, "a*b", "", b""),
            arrived(9, "s", "NATS/1.0\r\n\r\n", b"hi"),
            arrived(9, "s", "NATS/1.0 503\r\n\r\n", b""),
        ];
        for step in [1, 2, 7, 1000] {
            assert_eq!(read(text, step).unwrap(), expected);
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "INFO {\r\n",
            "INFO\r\n",
            "MSG a 1\r\n",
            "MSG a x 1\r\n",
            "MSG a 1 -1\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 r r 1\r\n",
            "HMSG a 1 5 4\r\nabcd\r\n",
            "HMSG a 1 5\r\nabcd\r\n",
        ] {
            let mut buffer = BytesMut::from(text);
            assert_eq!(next(&mut buffer), Err(NotNats), "{text}");
        }
        let mut buffer = BytesMut::from(&*vec![b'x'; MAX_LINE_BYTES]);
        assert_eq!(next(&mut buffer), Err(NotNats));
    }

    #[test]
    fn malformed_headers_are_ignored() {
        for (headers, status, value) in [
            (
                "NATS/1.0 404 Message Not Found\r\nA: b\r\n\r\n",
                Some(404),
                Some("b"),
            ),
            ("NATS/1.0\r\na:b:c\r\n\r\n", None, Some("b:c")),
            ("NATS/1.0\r\n\r\n", None, None),
            ("\u{e9}", None, None),
            ("", None, None),
        ] {
            let ServerOp::Message(message) = arrived(1, "s", headers, b"") else {
                return;
            };
            assert_eq!(
                (message.status(), message.header("A")),
                (status, value),
                "{headers}"
            );
        }
    }

    #[test]
    fn operations_of_a_client_are_written() {
        let mut out = Vec::new();
        subscribe("a.>", 1, &mut out);
        unsubscribe(1, &mut out);
        let header = vec![("A", "b".to_owned())];
        for (reply, headers, size) in [
            (None, vec![], 2),
            (Some("_INBOX.1"), vec![], 2),
            (None, header.clone(), 20),
            (Some("r"), header, 20),
        ] {
            let publish = Publish {
                subject: "s".to_owned(),
                headers,
                payload: "hi".into(),
            };
            publish.write(reply, &mut out);
            assert_eq!(publish.size(), size);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "SUB a.> 1\r\nUNSUB 1\r\nPUB s 2\r\nhi\r\nPUB s _INBOX.1 2\r\nhi\r\n\
             HPUB s 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nHPUB s r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n"
        );
    }
}
