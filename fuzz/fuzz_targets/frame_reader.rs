//! Fuzzes the WebSocket decoder: it never panics, and its result does not depend on how the stream is split.
//!
//! The first byte selects the limits and the meaning of the rest:
//!
//! * a client's stream;
//! * a recipe for mostly well-formed frames, so that the fuzzer passes the checks of masks and lengths.
#![no_main]

use fanfare_ws::encode::masked_fragment;
use fanfare_ws::{
    Decoder, DeflateParams, Deflater, Incoming, Inflater, Input, Limits, Opcode, Violation,
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(Violation),
}

fn seen(incoming: Incoming<'_>) -> Seen {
    match incoming {
        Incoming::Text(text) => Seen::Text(text.to_owned()),
        Incoming::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        Incoming::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Incoming::Pong(bytes) => Seen::Pong(bytes.to_vec()),
        Incoming::Close(close) => Seen::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
    }
}

fn decode<'p>(pieces: impl Iterator<Item = &'p [u8]>, limits: &Limits, inflater: &mut Inflater) -> Vec<Seen> {
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            assert!(
                !decoder.is_closed()
                    || all
                        .last()
                        .is_some_and(|seen| matches!(seen, Seen::Close(_) | Seen::Failed(_)))
            );
            match decoder.next(&mut input, limits, inflater) {
                Ok(Some(incoming)) => all.push(seen(incoming)),
                Ok(None) => break,
                Err(violation) => all.push(Seen::Failed(violation)),
            }
        }
        assert!(input.rest().is_empty());
    }
    for seen in &all[..all.len().saturating_sub(1)] {
        assert!(
            !matches!(seen, Seen::Close(_) | Seen::Failed(_)),
            "an item follows the end"
        );
    }
    for seen in &all {
        let len = match seen {
            Seen::Text(text) => text.len(),
            Seen::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        assert!(len <= limits.max_message_size);
    }
    all
}

/// Returns the frames of `recipe`: two bytes for kind and length, then the payload.
fn build(mut recipe: &[u8], deflater: &mut Deflater) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&[how, size], rest)) = recipe.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(usize::from(size).min(rest.len()));
        recipe = rest;
        let opcode = match how & 0x07 {
            0 | 1 => Opcode::Continuation,
            2 | 3 => Opcode::Text,
            4 => Opcode::Binary,
            5 => Opcode::Ping,
            6 => Opcode::Pong,
            _ => Opcode::Close,
        };
        let fin = how & 0x08 != 0;
        let rsv1 = how & 0x10 != 0;
        let key = [how, size, 0x55, payload.len() as u8];
        // A few payloads are repeated, for long and compressible messages.
        let payload = if how & 0xC0 == 0xC0 {
            payload.repeat(40)
        } else {
            payload.to_vec()
        };
        let payload = match how & 0x20 != 0 {
            true => deflater
                .compress(&payload, 8 + size % 8)
                .expect("zlib compresses")
                .to_vec(),
            false => payload,
        };
        stream.extend_from_slice(&masked_fragment(opcode, fin, rsv1, &payload, key));
    }
    stream.extend_from_slice(recipe);
    stream
}

/// Splits `stream` into pieces, some of them empty. `seed` determines their sizes.
fn pieces(stream: &[u8], mut seed: u32) -> impl Iterator<Item = &[u8]> {
    let most = [1, 2, 9, 200][seed as usize % 4];
    let mut rest = stream;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, after) = rest.split_at(((seed >> 16) as usize % (most + 1)).min(rest.len()));
        rest = after;
        Some(piece)
    })
}

fn check(data: &[u8], inflater: &mut Inflater, deflater: &mut Deflater) {
    let Some((&[choice, s0, s1], data)) = data.split_first_chunk::<3>() else {
        return;
    };
    let limits = Limits {
        max_message_size: if choice & 0x08 == 0 { 4096 } else { 100 },
        max_fragments: if choice & 0x10 == 0 { 16 } else { 3 },
        deflate: (choice & 0x01 != 0).then_some(DeflateParams {
            server_max_window_bits: 15,
        }),
    };
    let stream = if choice & 0x02 == 0 {
        data.to_vec()
    } else {
        build(data, deflater)
    };
    let whole = decode(std::iter::once(&stream[..]), &limits, inflater);
    let split = decode(
        pieces(&stream, u32::from_be_bytes([0, choice, s0, s1])),
        &limits,
        inflater,
    );
    assert_eq!(whole, split);
    if choice & 0x04 != 0 {
        assert_eq!(whole, decode(stream.chunks(1), &limits, inflater));
    }
}

fuzz_target!(|data: &[u8]| {
    // As in the server, the streams of a thread share these, so remains of one would affect the next.
    thread_local! {
        static SHARED: std::cell::RefCell<(Inflater, Deflater)> = Default::default();
    }
    SHARED.with_borrow_mut(|(inflater, deflater)| check(data, inflater, deflater));
});
