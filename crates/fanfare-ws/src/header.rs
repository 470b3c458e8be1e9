//! Parses the headers of clients' frames (RFC 6455, section 5.2).

use crate::{Limits, Opcode, Violation};
use Violation::Protocol;

/// The longest header: 2 bytes, a 64-bit length, a masking key.
pub(crate) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
pub(crate) const MAX_CONTROL: u64 = 125;

/// A complete and valid header of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParsedHeader {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    /// The bit RSV1: the message is compressed (RFC 7692, section 6).
    pub(crate) compressed: bool,
    pub(crate) key: [u8; 4],
    /// The length of the payload in bytes.
    pub(crate) len: u64,
    /// The length of the header in bytes.
    pub(crate) size: usize,
}

/// Parses the header at the start of `bytes`; returns `None` if it is incomplete. It checks each rule as soon as the
/// necessary bytes are there, in a fixed order, so the result does not depend on how the stream is split.
pub(crate) fn parse(
    bytes: &[u8],
    in_message: bool,
    limits: &Limits,
) -> Result<Option<ParsedHeader>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let fin = first & 0x80 != 0;
    let compressed = first & 0x40 != 0;
    let opcode = opcode(first)?;
    check_first(first, opcode, in_message, limits)?;

    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Protocol("client frame is not masked"));
    }
    let short = second & 0x7F;
    if opcode.is_control() && u64::from(short) > MAX_CONTROL {
        return Err(Protocol("control frame is too long"));
    }
    let Some((len, key_at)) = length(short, &bytes[2..])? else {
        return Ok(None);
    };
    let key_at = 2 + key_at;
    let Some(key) = bytes.get(key_at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Ok(None);
    };
    Ok(Some(ParsedHeader {
        opcode,
        fin,
        compressed,
        key: *key,
        len,
        size: key_at + 4,
    }))
}

fn opcode(first: u8) -> Result<Opcode, Violation> {
    Ok(match first & 0x0F {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        _ => return Err(Protocol("reserved opcode")),
    })
}

/// Checks the first byte, and the order of frames.
fn check_first(first: u8, opcode: Opcode, in_message: bool, limits: &Limits) -> Result<(), Violation> {
    let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
    if first & 0x30 != 0 || (first & 0x40 != 0 && limits.deflate.is_none()) {
        return Err(Protocol("reserved bit is set"));
    }
    if first & 0x40 != 0 && !starts_message {
        return Err(Protocol("only a message's first frame may be marked compressed"));
    }
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(Protocol("control frame is fragmented"));
    }
    if opcode == Opcode::Continuation && !in_message {
        return Err(Protocol("continuation without a message"));
    }
    if starts_message && in_message {
        return Err(Protocol("new message inside a fragmented one"));
    }
    Ok(())
}

/// Returns the payload length, and the size of the extended length in bytes. `bytes` starts after the header's second byte.
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    match short {
        126 => {
            let Some(extended) = bytes.first_chunk::<2>() else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes(*extended));
            if len < 126 {
                return Err(Protocol("length is not in its shortest form"));
            }
            Ok(Some((len, 2)))
        }
        127 => {
            if bytes.first().is_some_and(|top| top & 0x80 != 0) {
                return Err(Protocol("length has its top bit set"));
            }
            let Some(extended) = bytes.first_chunk::<8>() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(*extended);
            if u16::try_from(len).is_ok() {
                return Err(Protocol("length is not in its shortest form"));
            }
            Ok(Some((len, 8)))
        }
        short => Ok(Some((u64::from(short), 0))),
    }
}
