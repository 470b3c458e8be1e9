//! Encodes frames (RFC 6455, section 5). A server's frames are not masked, so all receivers share one frame.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Opcode, mask};

/// The maximum length of a close reason in bytes: the 125 of a control frame, minus the code.
const MAX_REASON: usize = 123;

/// The header of a frame without its payload, for vectored writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Returns the header of an unfragmented, unmasked frame for a payload of `len` bytes. `rsv1` marks it as compressed.
pub fn header(opcode: Opcode, len: usize, rsv1: bool) -> Header {
    let mut bytes = [0; 10];
    bytes[0] = 0x80 | (u8::from(rsv1) << 6) | opcode as u8;
    let size = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => {
            bytes[1] = len;
            2
        }
        (_, Ok(len)) => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            4
        }
        _ => {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    Header { bytes, len: size }
}

/// Returns an unfragmented frame, with one allocation. A control frame has a payload of at most 125 bytes.
pub fn frame(opcode: Opcode, payload: &[u8], rsv1: bool) -> Bytes {
    debug_assert!(
        !opcode.is_control() || payload.len() <= 125,
        "control frame is too long"
    );
    let header = header(opcode, payload.len(), rsv1);
    let mut frame = BytesMut::with_capacity(header.as_ref().len() + payload.len());
    frame.put_slice(header.as_ref());
    frame.put_slice(payload);
    frame.freeze()
}

/// Returns a close frame. A reason of more than 123 bytes is cut between two characters.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend(code.to_be_bytes());
    payload.extend(&reason.as_bytes()[..end]);
    frame(Opcode::Close, &payload, false)
}

/// Returns an unfragmented frame of a client, masked with `key`. For the clients of tests and benchmarks.
pub fn masked_frame(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> BytesMut {
    masked_fragment(opcode, true, false, payload, key)
}

/// Returns a frame like [`masked_frame`], with these FIN and RSV1 bits.
pub fn masked_fragment(opcode: Opcode, fin: bool, rsv1: bool, payload: &[u8], key: [u8; 4]) -> BytesMut {
    let header = header(opcode, payload.len(), rsv1);
    let mut frame = BytesMut::with_capacity(header.as_ref().len() + 4 + payload.len());
    frame.put_slice(header.as_ref());
    frame[0] &= if fin { 0xFF } else { 0x7F };
    frame[1] |= 0x80;
    frame.put_slice(&key);
    let start = frame.len();
    frame.put_slice(payload);
    mask::apply(&mut frame[start..], key);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_use_the_shortest_length() {
        let check = |len: usize, expected: &[u8]| {
            assert_eq!(
                header(Opcode::Binary, len, false).as_ref(),
                expected,
                "length {len}"
            );
        };
        check(0, &[0x82, 0]);
        check(125, &[0x82, 125]);
        check(126, &[0x82, 126, 0, 126]);
        check(65535, &[0x82, 126, 0xFF, 0xFF]);
        check(65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(header(Opcode::Text, 1, true).as_ref(), [0xC1, 1]);
    }

    #[test]
    fn frames_are_those_of_the_rfc() {
        // RFC 6455, section 5.7
        assert_eq!(frame(Opcode::Text, b"Hello", false)[..], *b"\x81\x05Hello");
        assert_eq!(
            masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d])[..],
            *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        assert_eq!(
            masked_fragment(Opcode::Text, false, true, b"", [0; 4])[..],
            *b"\x41\x80\0\0\0\0"
        );
        assert_eq!(frame(Opcode::Ping, b"Hello", false)[..], *b"\x89\x05Hello");
        assert_eq!(frame(Opcode::Close, b"", false)[..], *b"\x88\x00");
    }

    #[test]
    fn close_reasons_are_cut_between_characters() {
        let check = |reason: &str, expected: usize| {
            let frame = close_frame(1000, reason);
            assert_eq!(usize::from(frame[1]), frame.len() - 2);
            assert_eq!(frame[2..4], [0x03, 0xE8]);
            assert_eq!(std::str::from_utf8(&frame[4..]), Ok(&reason[..expected]));
        };
        check("", 0);
        check("going away", 10);
        check(&"a".repeat(123), 123);
        check(&"a".repeat(124), 123);
        check(&"\u{20AC}".repeat(100), 123);
        check(&format!("a{}", "\u{20AC}".repeat(100)), 121);
        check(&format!("ab{}", "\u{1F600}".repeat(100)), 122);
    }
}
