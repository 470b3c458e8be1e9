//! Tests of the decoder, with the streams of `decode_cases` and others.

use crate::decode_cases::{Case, all, binary, raw, text};
use crate::testkit::{Outcome, Seen, decode, limits, one, part, random};
use crate::{Decoder, Incoming, Inflater, Input, Limits, Opcode, Violation};
use Opcode::{Binary, Close, Continuation, Ping, Text};

#[track_caller]
fn assert_outcome(case: &Case, outcome: &Outcome, how: &str) {
    assert_eq!(outcome.end, case.end, "{} {how}", case.what);
    assert_eq!(outcome.seen, case.seen, "{} {how}", case.what);
}

#[test]
fn streams_are_decoded_in_one_piece() {
    for case in all() {
        assert_outcome(&case, &decode([&case.stream[..]], &case.limits), "whole");
    }
}

#[test]
fn streams_are_decoded_in_two_pieces() {
    for case in all() {
        // Long payloads are uniform, so only their ends matter.
        let len = case.stream.len();
        for at in (0..=len).filter(|at| *at < 600 || at + 600 > len || at % 997 == 0) {
            let (front, back) = case.stream.split_at(at);
            assert_outcome(
                &case,
                &decode([front, back], &case.limits),
                &format!("split at {at}"),
            );
        }
    }
}

#[test]
fn streams_are_decoded_byte_by_byte() {
    for case in all() {
        assert_outcome(
            &case,
            &decode(case.stream.chunks(1), &case.limits),
            "byte by byte",
        );
    }
}

#[test]
fn streams_are_decoded_in_random_pieces() {
    let mut state = 0x5EED_1234;
    for round in 0..40 {
        for case in all() {
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = &case.stream[..];
            let most = [1, 3, 20, 400, 9000][random(&mut state) % 5];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((random(&mut state) % (most + 1)).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            assert_outcome(
                &case,
                &decode(pieces, &case.limits),
                &format!("in random round {round}"),
            );
        }
    }
}

#[test]
fn only_allowed_close_codes_are_accepted() {
    let allowed = |code: u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in (0..=1200_u16).chain([1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535]) {
        let outcome = decode([&one(Close, &code.to_be_bytes())[..]], &limits());
        if allowed(code) {
            assert_eq!(outcome.seen, [Seen::Close(Some((code, String::new())))]);
        } else {
            assert_eq!(
                (outcome.seen.len(), outcome.end),
                (0, Some(Violation::Protocol("close code is not allowed"))),
                "{code}"
            );
        }
    }
}

#[test]
fn text_fails_at_its_first_invalid_byte_in_an_incomplete_frame() {
    let check = |frames: &[Vec<u8>], bad_at: usize| {
        let stream = frames.concat();
        let outcome = decode(stream.chunks(1), &limits());
        assert_eq!(
            (outcome.end, outcome.failed_in),
            (Some(Violation::NotUtf8), bad_at),
            "{stream:x?}"
        );
        // The bytes so far are enough.
        assert_eq!(
            decode([&stream[..=bad_at]], &limits()).end,
            Some(Violation::NotUtf8)
        );
        assert_eq!(decode([&stream[..bad_at]], &limits()).end, None);
    };
    let start = "κόσμε".as_bytes(); // 10 or 11 bytes, by its accents
    let bad = [start, b"\xf4\x90\x80\x80", b"edited"].concat();
    check(&[one(Text, &bad)], 6 + start.len() + 1);
    check(
        &[
            part(Text, start),
            part(Continuation, b"\xf4"),
            one(Continuation, b"\x90\x80"),
        ],
        6 + start.len() + 6 + 1 + 6,
    );
    check(
        &[part(Text, b"a\xe2"), one(Ping, b"p"), one(Continuation, b"bc")],
        6 + 2 + 7 + 6,
    );
    let far = [vec![b'a'; 400], b"\xc0".to_vec(), vec![b'a'; 100]].concat();
    check(&[one(Text, &far)], 8 + 400);
}

#[test]
fn headers_fail_before_the_payload_arrives() {
    for (header, end) in [
        (
            raw(0x82, 0xFF, &[0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]),
            Violation::TooBig,
        ),
        (
            raw(0x89, 0xFE, &[]),
            Violation::Protocol("control frame is too long"),
        ),
        (vec![0x80], Violation::Protocol("continuation without a message")),
        (
            raw(0x81, 0x05, &[]),
            Violation::Protocol("client frame is not masked"),
        ),
    ] {
        assert_eq!(decode([&header[..]], &limits()).end, Some(end));
        assert_eq!(decode([&header[..header.len() - 1]], &limits()).end, None);
    }
}

#[test]
fn the_size_of_a_message_is_that_of_all_fragments() {
    let limits = Limits {
        max_message_size: 10,
        ..limits()
    };
    let check = |sizes: &[usize], end: Option<Violation>| {
        let mut stream = part(Binary, b"");
        for size in sizes {
            stream.extend(part(Continuation, &vec![1; *size]));
        }
        assert_eq!(decode([&stream[..]], &limits).end, end, "{sizes:?}");
    };
    check(&[10], None);
    check(&[5, 5, 0], None);
    check(&[11], Some(Violation::TooBig));
    check(&[5, 5, 1], Some(Violation::TooBig));
    assert_eq!(
        decode([&one(Binary, &[0; 10])[..]], &limits).seen,
        [binary(&[0; 10])]
    );
    assert_eq!(
        decode([&one(Binary, &[0; 11])[..]], &limits).end,
        Some(Violation::TooBig)
    );
}

#[test]
fn empty_fragments_are_limited_too() {
    let limits = Limits {
        max_fragments: 3,
        ..limits()
    };
    let more = part(Continuation, b"");
    let last = one(Continuation, b"");
    let fits = [part(Text, b""), more.clone(), one(Ping, b""), last.clone()].concat();
    assert_eq!(
        decode([&fits[..], &fits[..]], &limits).seen.len(),
        4,
        "the count begins anew for each message"
    );
    for fourth in [more.clone(), last] {
        let stream = [part(Text, b""), more.clone(), more.clone(), fourth].concat();
        let outcome = decode([&stream[..]], &limits);
        assert_eq!(outcome.end, Some(Violation::TooManyFragments));
        assert_eq!(outcome.end.map(Violation::close_code), Some(1008));
    }
    let none = Limits {
        max_fragments: 0,
        ..limits
    };
    assert_eq!(decode([&one(Text, b"a")[..]], &none).seen, [text("a")]);
}

#[test]
fn a_complete_message_is_borrowed_and_leaves_no_state() {
    let mut decoder = Decoder::new();
    let mut inflater = Inflater::new();
    let mut bytes = [one(Text, b"hello"), one(Ping, b"p"), one(Binary, &[7; 300])].concat();
    let span = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let mut count = 0;
    while let Ok(Some(incoming)) = decoder.next(&mut input, &limits(), &mut inflater) {
        let (Incoming::Text(_) | Incoming::Ping(_) | Incoming::Binary(_)) = incoming else {
            panic!("{incoming:?}")
        };
        let at = match incoming {
            Incoming::Text(text) => text.as_ptr(),
            Incoming::Ping(bytes) | Incoming::Binary(bytes) => bytes.as_ptr(),
            _ => std::ptr::null(),
        };
        assert!(span.contains(&at));
        count += 1;
    }
    assert_eq!(count, 3);
    assert!(decoder.is_at_rest());

    // The state is dropped when the message is complete.
    let stream = [part(Text, b"a"), one(Continuation, b"b"), one(Ping, b"ping")].concat();
    for piece in stream.chunks(1) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        while let Ok(Some(_)) = decoder.next(&mut input, &limits(), &mut inflater) {}
    }
    assert!(decoder.is_at_rest());
}

#[test]
fn an_idle_decoder_is_two_words() {
    assert!(size_of::<Decoder>() <= 16);
}

#[test]
fn bytes_after_the_end_are_skipped() {
    for end in [one(Close, b""), vec![0x83]] {
        let outcome = decode([&end[..], &one(Text, b"more"), &[0xFF; 20]], &limits());
        assert!(outcome.seen.len() + usize::from(outcome.end.is_some()) == 1);
    }
}
