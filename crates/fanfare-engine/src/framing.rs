//! Frames messages for a socket: as WebSocket frames, or as parts of a response's body.

use bytes::{BufMut, Bytes, BytesMut};
use fanfare_core::Rendering;
use fanfare_ws::{DeflateParams, Opcode, encode};

/// The chunk that ends a body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The framing of a connection's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// RFC 6455, with the compression that was negotiated.
    WebSocket(Option<DeflateParams>),
    /// The body of a response. The client sends nothing, and the dialect provides the pings.
    Body {
        /// The number of the dialect's form for this client.
        form: u8,
        /// Whether the body is chunked. If not, the end of the connection ends it.
        chunked: bool,
    },
}

impl Framing {
    /// Returns the compression of messages.
    pub fn deflate(self) -> Option<DeflateParams> {
        match self {
            Self::WebSocket(deflate) => deflate,
            Self::Body { .. } => None,
        }
    }

    pub(super) fn is_body(self) -> bool {
        matches!(self, Self::Body { .. })
    }

    /// Frames a message, uncompressed.
    pub(super) fn frame(self, message: &Rendering) -> Bytes {
        match self {
            Self::WebSocket(_) => encode::frame(opcode(message), message.payload(), false),
            Self::Body { form, chunked: true } => chunk(message.form(form)),
            Self::Body { form, chunked: false } => message.form(form).clone(),
        }
    }

    /// Frames the message whose unframed forms are `bare`.
    pub(super) fn of_bare(self, bare: &[(Self, Bytes)]) -> Bytes {
        let Self::Body { form, chunked } = self else {
            return Bytes::new();
        };
        let own = Self::Body { form, chunked: false };
        let part = bare.iter().find(|(framing, _)| *framing == own);
        match part {
            Some((_, part)) if chunked => chunk(part),
            Some((_, part)) => part.clone(),
            None => Bytes::new(), // the message has no such form
        }
    }

    /// Returns the last frame; `None` if the end of the connection ends the body.
    pub(super) fn close(self, code: u16, reason: &str) -> Option<Bytes> {
        match self {
            Self::WebSocket(_) => Some(encode::close_frame(code, reason)),
            Self::Body { chunked, .. } => chunked.then_some(Bytes::from_static(LAST_CHUNK)),
        }
    }

    /// Returns whether a frame is a control frame (RFC 6455, section 5.2).
    pub(super) fn is_control(self, frame: &Bytes) -> bool {
        match self {
            Self::WebSocket(_) => frame.first().is_some_and(|first| first & 0x08 != 0),
            Self::Body { .. } => frame == LAST_CHUNK,
        }
    }
}

/// Returns the unframed forms of a part of a body, each with a framing that adds nothing.
pub(super) fn bare(forms: &[Bytes; 2]) -> [(Framing, Bytes); 2] {
    let bare = |form| Framing::Body { form, chunked: false };
    [(bare(0), forms[0].clone()), (bare(1), forms[1].clone())]
}

pub(super) fn opcode(message: &Rendering) -> Opcode {
    match message {
        Rendering::Text(_) | Rendering::Forms(_) => Opcode::Text,
        Rendering::Binary(_) => Opcode::Binary,
    }
}

fn chunk(part: &Bytes) -> Bytes {
    if part.is_empty() {
        return Bytes::new(); // an empty chunk would end the body
    }
    let size = format!("{:x}\r\n", part.len());
    let mut chunk = BytesMut::with_capacity(size.len() + part.len() + 2);
    chunk.put_slice(size.as_bytes());
    chunk.put_slice(part);
    chunk.put_slice(b"\r\n");
    chunk.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_body_are_chunked_and_its_end_is_a_control_frame() {
        let message = Rendering::Forms([Bytes::from_static(b"id: 1\n\n"), Bytes::from_static(b"{}\n")]);
        for (form, chunked, expected, end) in [
            (0, true, "7\r\nid: 1\n\n\r\n", Some("0\r\n\r\n")),
            (1, true, "3\r\n{}\n\r\n", Some("0\r\n\r\n")),
            (1, false, "{}\n", None),
        ] {
            let framing = Framing::Body { form, chunked };
            assert_eq!(framing.frame(&message), expected);
            assert_eq!(framing.close(1000, "reason").as_deref(), end.map(str::as_bytes));
        }
        let framing = Framing::Body {
            form: 0,
            chunked: true,
        };
        assert!(framing.is_control(&Bytes::from_static(LAST_CHUNK)));
        // The first byte of a chunk looks like that of a control frame.
        assert!(!framing.is_control(&framing.frame(&Rendering::Text(Bytes::from_static(b"12345678")))));
        let Rendering::Forms(forms) = &message else { return };
        for chunked in [true, false] {
            let framing = Framing::Body { form: 1, chunked };
            assert_eq!(framing.of_bare(&bare(forms)), framing.frame(&message));
        }
        let empty = Rendering::Forms([Bytes::new(), Bytes::new()]);
        assert!(framing.frame(&empty).is_empty());
    }
}
