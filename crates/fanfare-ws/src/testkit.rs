//! Helpers of the tests: streams of client frames, and the results of a decoder.

use crate::{Decoder, DeflateParams, Incoming, Inflater, Input, Limits, Opcode, Violation, encode};

/// An owned [`Incoming`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Incoming<'_>> for Seen {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Incoming::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// The result of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    pub(crate) end: Option<Violation>,
    /// The index of the piece with the violation.
    pub(crate) failed_in: usize,
}

/// Decodes a stream in pieces.
pub(crate) fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: &Limits) -> Outcome {
    let mut decoder = Decoder::new();
    let mut inflater = Inflater::new();
    let mut outcome = Outcome::default();
    for (index, piece) in pieces.into_iter().enumerate() {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input, limits, &mut inflater) {
                Ok(Some(incoming)) => outcome.seen.push(incoming.into()),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(outcome.end.replace(violation), None, "a stream ends once");
                    outcome.failed_in = index;
                }
            }
        }
        assert!(input.rest().is_empty(), "all input is read");
    }
    outcome
}

pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub(crate) fn limits() -> Limits {
    Limits {
        max_message_size: 1 << 20,
        max_fragments: 64,
        deflate: None,
    }
}

pub(crate) fn deflate_limits() -> Limits {
    Limits {
        deflate: Some(DeflateParams {
            server_max_window_bits: 15,
        }),
        ..limits()
    }
}

/// Returns an unfragmented frame.
pub(crate) fn one(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    encode::masked_frame(opcode, payload, KEY).to_vec()
}

/// Returns a frame that is not the last one of its message.
pub(crate) fn part(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    encode::masked_fragment(opcode, false, false, payload, KEY).to_vec()
}

/// Returns the next number of a seeded sequence (xorshift64*).
pub(crate) fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0)
}
