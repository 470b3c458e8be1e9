//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), sans-io: bytes in, messages out.
//!
//! * [`Decoder`] turns a client's bytes into messages. It is strict: it fails at the first byte that cannot belong to a
//!   valid stream.
//! * [`encode`] builds the frames that a server sends.
//! * [`handshake`] checks the upgrade request, [`extensions`] negotiates compression.
//! * [`Inflater`] and [`Deflater`] are large, so all connections of a thread share one of each. No connection
//!   keeps compression state, because "no context takeover" is always negotiated in both directions.
//!
//! This crate uses no socket, no clock and no runtime. It depends on no other crate of Fanfare, so it could be published
//! separately.
//!
//! # Examples
//!
//! Decode a client's frame:
//!
//! ```
//! use fanfare_ws::{Decoder, Incoming, Inflater, Input, Limits, Opcode, encode};
//!
//! let mut received = encode::masked_frame(Opcode::Text, b"hello", [1, 2, 3, 4]).to_vec();
//! let (mut decoder, mut inflater) = (Decoder::new(), Inflater::new());
//! let limits = Limits { max_message_size: 1 << 20, max_fragments: 1024, deflate: None };
//! let mut input = Input::new(&mut received);
//! while let Some(message) = decoder.next(&mut input, &limits, &mut inflater)? {
//!     assert_eq!(message, Incoming::Text("hello"));
//! }
//! # Ok::<(), fanfare_ws::Violation>(())
//! ```

mod decode;
#[cfg(test)]
mod decode_cases;
#[cfg(test)]
mod decode_tests;
mod deflate;
pub mod encode;
pub mod extensions;
pub mod handshake;
mod header;
mod input;
mod mask;
mod partial;
#[cfg(test)]
mod testkit;
mod utf8;

pub use decode::Decoder;
pub use deflate::{Deflater, Inflater};
pub use extensions::DeflateParams;
pub use input::Input;

/// The type of a frame (RFC 6455, section 5.2); the value is the opcode on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message, in UTF-8.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// The end of the stream.
    Close = 0x8,
    /// A request for a pong.
    Ping = 0x9,
    /// The reply to a ping, or an unsolicited heartbeat.
    Pong = 0xA,
}

impl Opcode {
    /// Returns `true` for control frames. They are never fragmented, and may be between the fragments of a message.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The limits of a connection. Many connections share them, so the [`Decoder`] does not contain them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size of a message in bytes, after decompression.
    pub max_message_size: usize,
    /// The maximum number of frames of one message, including empty ones. A message in one frame is always accepted.
    pub max_fragments: usize,
    /// The negotiated compression; `None` refuses compressed messages.
    pub deflate: Option<DeflateParams>,
}

/// A message or control frame of a client. It borrows from the input if the input contains it in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message.
    Binary(&'a [u8]),
    /// A ping with a payload of at most 125 bytes. Reply with a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong: the reply to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The close frame, with its code and reason if it has any. No other item follows.
    Close(Option<(u16, &'a str)>),
}

/// The reason why a client's stream is refused. Close the connection with [`Violation::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Violation {
    /// The stream breaks a rule of the protocol; the text names it.
    Protocol(&'static str),
    /// A text message or a close reason is not UTF-8.
    NotUtf8,
    /// The message, or its announced length, is over [`Limits::max_message_size`].
    TooBig,
    /// The message has more than [`Limits::max_fragments`] frames.
    TooManyFragments,
    /// A compressed message cannot be decompressed.
    BadDeflate,
}

impl Violation {
    /// Returns the status code for the close frame (RFC 6455, section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 | Self::BadDeflate => 1007,
            // Not 1009: the message may be small, and a smaller one would not help.
            Self::TooManyFragments => 1008,
            Self::TooBig => 1009,
        }
    }

    /// Returns a short text for the close frame and the log. It never contains bytes of the client.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Protocol(what) => what,
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooBig => "message too big",
            Self::TooManyFragments => "too many fragments",
            Self::BadDeflate => "bad compressed data",
        }
    }
}
