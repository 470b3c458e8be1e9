//! Fuzzes the Redis-protocol reader: it never panics, and its result does not depend on how the stream is split.
//!
//! The first byte selects the limits and the meaning of the rest:
//!
//! * a client's stream;
//! * a recipe for mostly well-formed requests, so that the fuzzer passes the checks of counts and lengths.
#![no_main]

use bytes::BytesMut;
use fanfare_server::resp::reader::{ProtocolError, RequestLimits, RequestReader};
use libfuzzer_sys::fuzz_target;

/// The requests, the error that ended the stream, and the number of bytes of an incomplete request.
type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

fn read<'p>(pieces: impl Iterator<Item = &'p [u8]>, limits: &RequestLimits) -> Outcome {
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match reader.next(&mut buffer, limits) {
                Ok(Some(request)) => {
                    assert!((1..=limits.max_args).contains(&request.len()));
                    assert!(request.is_inline() || request.size() <= limits.max_request + 2);
                    requests.push(request.args(0).map(<[u8]>::to_vec).collect());
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error), 0),
            }
        }
        // The bytes of an incomplete request are limited.
        assert!(buffer.len() <= limits.max_request.max(64 * 1024) + 1);
    }
    (requests, None, buffer.len())
}

/// Returns the requests of `recipe`: a byte for the number of arguments, and one for the length of each.
fn build(mut recipe: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&how, rest)) = recipe.split_first() {
        recipe = rest;
        let count = how & 0x0f;
        let announced = if how & 0xf0 == 0xf0 { count.wrapping_sub(1) } else { count };
        stream.extend_from_slice(format!("*{announced}\r\n").as_bytes());
        for _ in 0..count {
            let Some((&size, rest)) = recipe.split_first() else {
                return stream;
            };
            let (argument, rest) = rest.split_at(usize::from(size % 32).min(rest.len()));
            recipe = rest;
            let announced = argument.len() + usize::from(size == 0xff);
            stream.extend_from_slice(format!("${announced}\r\n").as_bytes());
            stream.extend_from_slice(argument);
            stream.extend_from_slice(b"\r\n");
        }
    }
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

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, s0, s1], data)) = data.split_first_chunk::<3>() else {
        return;
    };
    let limits = match choice & 0x03 {
        0 => RequestLimits::BEFORE_LOGIN,
        1 => RequestLimits::with_max_bulk(8 << 20),
        _ => RequestLimits {
            max_args: 4,
            max_bulk: 20,
            max_request: 60,
            before_login: choice & 0x01 != 0,
        },
    };
    let stream = if choice & 0x04 == 0 { data.to_vec() } else { build(data) };
    let whole = read(std::iter::once(&stream[..]), &limits);
    let seed = u32::from_be_bytes([0, choice, s0, s1]);
    // An incomplete request stays in the buffer, so the rest is the same.
    assert_eq!(whole, read(pieces(&stream, seed), &limits));
    assert_eq!(whole, read(stream.chunks(1), &limits));
});
