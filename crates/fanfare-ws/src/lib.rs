//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), sans-io: bytes in, messages out.
//!
//! * [`Decoder`] turns a client's bytes into messages. It is strict: it fails at the first byte that cannot belong to a
//!   valid stream.
//! * [`encode`] builds the frames that a server sends.
//! * [`handshake`] and [`extensions`] judge the upgrade request.
//! * [`Inflater`] and [`Deflater`] are big, so a thread has one of each and lends it to its connections. No connection
//!   keeps compression state, since "no context takeover" is always negotiated in both directions.
//!
//! This crate must never know a socket, a clock, a runtime, or anything of Fanfare: it depends on none of Fanfare's
//! crates, and could be published alone.
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
    /// A further fragment of the message under way.
    Continuation = 0x0,
    /// A message in UTF-8.
    Text = 0x1,
    /// A message of any bytes.
    Binary = 0x2,
    /// The end of the conversation.
    Close = 0x8,
    /// Asks the peer for a pong.
    Ping = 0x9,
    /// The reply to a ping, or an unsolicited heartbeat.
    Pong = 0xA,
}

impl Opcode {
    /// Control frames are never fragmented and may be between the fragments of a message.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The limits of a connection. Shared by many connections, and therefore not part of the [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message in bytes, after inflating.
    pub max_message_size: usize,
    /// The most frames of one message, empty ones included. A message in one frame is always accepted.
    pub max_fragments: usize,
    /// The negotiated compression of this connection; `None` refuses compressed messages.
    pub deflate: Option<DeflateParams>,
}

/// A message or control frame of a client. Borrows from the input if its payload is contiguous there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to our ping.
    Pong(&'a [u8]),
    /// The client's close frame: its code and reason, if it gave any. Nothing follows it.
    Close(Option<(u16, &'a str)>),
}

/// Why a client's stream is refused. The connection is over: send a close frame with [`Violation::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The stream breaks the rule of the protocol that the text names.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message or a close reason is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// The message is, or announces to be, over [`Limits::max_message_size`].
    #[error("message too big")]
    TooBig,
    /// The message has more than [`Limits::max_fragments`] frames.
    #[error("too many fragments")]
    TooManyFragments,
    /// A compressed message can not be inflated.
    #[error("bad compressed data")]
    BadDeflate,
}

impl Violation {
    /// The status code for our close frame (RFC 6455, section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 | Self::BadDeflate => 1007,
            // Not 1009: the message may be small, and making it smaller would not help the client.
            Self::TooManyFragments => 1008,
            Self::TooBig => 1009,
        }
    }

    /// Returns a short text for our close frame and the log. It never contains bytes of the client.
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
