//! The decoder against streams as data.

use super::testkit::{KEY, Outcome, Seen, decode, deflate_limits, limits, one, part, random};
use super::{Decoder, Deflater, Incoming, Inflater, Input, Limits, Opcode, Violation, encode};
use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};

/// A stream and what must come of it, however it is split.
struct Case {
    what: &'static str,
    stream: Vec<u8>,
    limits: Limits,
    seen: Vec<Seen>,
    end: Option<Violation>,
}

fn case(what: &'static str, frames: &[Vec<u8>], seen: &[Seen], end: Option<Violation>) -> Case {
    Case {
        what,
        stream: frames.concat(),
        limits: limits(),
        seen: seen.to_vec(),
        end,
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn binary(bytes: &[u8]) -> Seen {
    Seen::Binary(bytes.to_vec())
}

fn protocol(what: &'static str) -> Option<Violation> {
    Some(Violation::Protocol(what))
}

/// A frame whose first two bytes are as given; masked with zeroes, hence plain.
fn raw(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, second];
    frame.extend(rest);
    frame
}

fn valid() -> Vec<Case> {
    let long = vec![b'x'; 70_000];
    vec![
        case("nothing", &[], &[], None),
        case("empty text", &[one(Text, b"")], &[text("")], None),
        case(
            "text",
            &[one(Text, "Hello-µ@ßöäüàá".as_bytes())],
            &[text("Hello-µ@ßöäüàá")],
            None,
        ),
        case(
            "binary",
            &[one(Binary, &[0xFE; 126])],
            &[binary(&[0xFE; 126])],
            None,
        ),
        case(
            "sixteen bit length",
            &[one(Binary, &long[..65535])],
            &[binary(&long[..65535])],
            None,
        ),
        case("long length", &[one(Binary, &long)], &[binary(&long)], None),
        case(
            "pings",
            &[one(Ping, b""), one(Ping, &[0; 125])],
            &[Seen::Ping(vec![]), Seen::Ping(vec![0; 125])],
            None,
        ),
        case(
            "pong",
            &[one(Pong, b"unasked")],
            &[Seen::Pong(b"unasked".to_vec())],
            None,
        ),
        case(
            "control frames between fragments",
            &[
                part(Text, b"ab"),
                one(Ping, b"1"),
                part(Continuation, b""),
                one(Pong, b"2"),
                one(Continuation, b"c"),
            ],
            &[Seen::Ping(b"1".to_vec()), Seen::Pong(b"2".to_vec()), text("abc")],
            None,
        ),
        case(
            "empty fragments",
            &[part(Text, b""), part(Continuation, b""), one(Continuation, b"")],
            &[text("")],
            None,
        ),
        case(
            "characters split among fragments",
            &[
                part(Text, b"\xce"),
                part(Continuation, b"\xba\xf0\x9f"),
                one(Continuation, b"\x98\x80"),
            ],
            &[text("κ\u{1F600}")],
            None,
        ),
        case(
            "messages one after another",
            &[
                one(Text, b"a"),
                part(Binary, b"\xff"),
                one(Continuation, b"\xfe"),
                one(Text, b"b"),
            ],
            &[text("a"), binary(b"\xff\xfe"), text("b")],
            None,
        ),
        case(
            "close",
            &[one(Close, b""), one(Text, b"late")],
            &[Seen::Close(None)],
            None,
        ),
        case(
            "close inside a message",
            &[
                part(Text, b"x"),
                one(Close, b"\x03\xe8bye \xc3\xa4"),
                vec![0xFF; 9],
            ],
            &[Seen::Close(Some((1000, "bye ä".to_owned())))],
            None,
        ),
        case(
            "unfinished",
            &[one(Text, b"a"), one(Text, b"bcd")[..8].to_vec()],
            &[text("a")],
            None,
        ),
    ]
}

fn broken() -> Vec<Case> {
    let shortest = "length is not in its shortest form";
    let reserved = "reserved bit is set";
    let mut cases = vec![
        case(
            "unmasked",
            &[one(Text, b"a"), encode::frame(Text, b"b", false).to_vec()],
            &[text("a")],
            protocol("client frame is not masked"),
        ),
        case(
            "lone continuation",
            &[one(Continuation, b"a")],
            &[],
            protocol("continuation without a message"),
        ),
        case(
            "second end",
            &[part(Text, b"a"), one(Continuation, b"b"), one(Continuation, b"c")],
            &[text("ab")],
            protocol("continuation without a message"),
        ),
        case(
            "message in message",
            &[part(Text, b"a"), one(Text, b"b")],
            &[],
            protocol("new message inside a fragmented one"),
        ),
        case(
            "message in message",
            &[part(Text, b"a"), part(Binary, b"b")],
            &[],
            protocol("new message inside a fragmented one"),
        ),
        case(
            "fragmented ping",
            &[part(Ping, b"a")],
            &[],
            protocol("control frame is fragmented"),
        ),
        case(
            "long ping",
            &[one(Ping, &[1; 126])],
            &[],
            protocol("control frame is too long"),
        ),
        case(
            "long close",
            &[one(Close, &[3; 126])],
            &[],
            protocol("control frame is too long"),
        ),
        case(
            "long form of 125",
            &[raw(0x82, 0xFE, &[0, 125, 0, 0, 0, 0])],
            &[],
            protocol(shortest),
        ),
        case(
            "longest form of 65535",
            &[raw(0x82, 0xFF, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0])],
            &[],
            protocol(shortest),
        ),
        case(
            "top bit",
            &[raw(0x82, 0xFF, &[0x80])],
            &[],
            protocol("length has its top bit set"),
        ),
        case(
            "a gigabyte",
            &[raw(0x82, 0xFF, &[0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0])],
            &[],
            Some(Violation::TooBig),
        ),
        case(
            "one too many",
            &[raw(0x82, 0xFF, &[0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0])],
            &[],
            Some(Violation::TooBig),
        ),
        case(
            "short close",
            &[one(Close, b"\x03")],
            &[],
            protocol("close code is cut off"),
        ),
        case(
            "close reason",
            &[one(Close, b"\x03\xe8\xff")],
            &[],
            Some(Violation::NotUtf8),
        ),
        case(
            "cut close reason",
            &[one(Close, b"\x03\xe8a\xc3")],
            &[],
            Some(Violation::NotUtf8),
        ),
        case(
            "text ends inside a character",
            &[one(Text, b"a\xce")],
            &[],
            Some(Violation::NotUtf8),
        ),
        case(
            "message ends inside a character",
            &[part(Text, b"a\xe2\x82"), one(Continuation, b"")],
            &[],
            Some(Violation::NotUtf8),
        ),
        case(
            "surrogate",
            &[one(Ping, b""), one(Text, b"\xed\xa0\x80")],
            &[Seen::Ping(vec![])],
            Some(Violation::NotUtf8),
        ),
    ];
    for first in [0x91, 0xA1, 0xC1, 0xF1, 0x99, 0xC9, 0xC8] {
        cases.push(case(
            "reserved bits",
            &[one(Binary, b"a"), raw(first, 0x80, &[0; 4])],
            &[binary(b"a")],
            protocol(reserved),
        ));
    }
    for first in [0x83, 0x84, 0x85, 0x86, 0x87, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x03] {
        cases.push(case(
            "reserved opcode",
            &[raw(first, 0x80, &[0; 4])],
            &[],
            protocol("reserved opcode"),
        ));
    }
    let marked = protocol("only a message's first frame may be marked compressed");
    for stream in [
        raw(0xC9, 0x80, &[0; 4]),
        raw(0xC8, 0x80, &[0; 4]),
        [part(Text, b"a"), raw(0xC0, 0x80, &[0; 4])].concat(),
    ] {
        let case = case("compressed mark", &[stream], &[], marked);
        cases.push(Case {
            limits: deflate_limits(),
            ..case
        });
    }
    cases
}

/// Compressed streams. What comes compressed is tested with the inflater; here it matters how it is framed.
fn compressed() -> Vec<Case> {
    let mut deflater = Deflater::new();
    let mut packed = |payload: &[u8]| {
        deflater
            .compress(payload, 15)
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    };
    let hello = packed("Hello κόσμε ".repeat(20).as_bytes());
    let noise: Vec<u8> = (0..3000_u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let packed_noise = packed(&noise);
    let bad_text = packed(b"abc\xff");
    let big = packed(&vec![0; (1 << 20) + 1]);
    let whole = |payload: &[u8]| encode::masked_fragment(Text, true, true, payload, KEY).to_vec();
    let first = |opcode, payload: &[u8]| encode::masked_fragment(opcode, false, true, payload, KEY).to_vec();
    let greeting = text(&"Hello κόσμε ".repeat(20));
    let mut cases = vec![
        case(
            "whole",
            &[whole(&hello), one(Text, b"plain"), whole(&hello)],
            &[greeting.clone(), text("plain"), greeting.clone()],
            None,
        ),
        case(
            "fragments",
            &[
                first(Text, &hello[..5]),
                one(Ping, b""),
                part(Continuation, &hello[5..9]),
                one(Continuation, &hello[9..]),
            ],
            &[Seen::Ping(vec![]), greeting],
            None,
        ),
        case(
            "binary",
            &[first(Binary, &packed_noise), one(Continuation, b"")],
            &[binary(&noise)],
            None,
        ),
        case("empty", &[whole(b"\0")], &[text("")], None),
        case(
            "not inflatable",
            &[whole(b"\xff\xff\xff")],
            &[],
            Some(Violation::BadDeflate),
        ),
        case(
            "cut off",
            &[whole(&hello[..hello.len() - 3])],
            &[],
            Some(Violation::BadDeflate),
        ),
        case("not text", &[whole(&bad_text)], &[], Some(Violation::NotUtf8)),
        case("too big inflated", &[whole(&big)], &[], Some(Violation::TooBig)),
        case(
            "too big as it is",
            &[raw(0xC2, 0xFF, &[0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0])],
            &[],
            Some(Violation::TooBig),
        ),
    ];
    for case in &mut cases {
        case.limits = deflate_limits();
    }
    cases
}

fn all() -> impl Iterator<Item = Case> {
    valid().into_iter().chain(broken()).chain(compressed())
}

#[track_caller]
fn assert_outcome(case: &Case, outcome: &Outcome, how: &str) {
    assert_eq!(outcome.end, case.end, "{} {how}", case.what);
    assert_eq!(outcome.seen, case.seen, "{} {how}", case.what);
}

#[test]
fn streams_in_one_piece() {
    for case in all() {
        assert_outcome(&case, &decode([&case.stream[..]], &case.limits), "whole");
    }
}

#[test]
fn streams_split_once_anywhere() {
    for case in all() {
        // Long payloads are alike inside; their ends are what matters.
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
fn streams_byte_by_byte() {
    for case in all() {
        assert_outcome(
            &case,
            &decode(case.stream.chunks(1), &case.limits),
            "byte by byte",
        );
    }
}

#[test]
fn streams_split_at_random() {
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
fn close_codes() {
    let allowed = |code: u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in (0..=1200_u16).chain([1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535]) {
        let outcome = decode([&one(Close, &code.to_be_bytes())[..]], &limits());
        if allowed(code) {
            assert_eq!(outcome.seen, [Seen::Close(Some((code, String::new())))]);
        } else {
            assert_eq!(
                (outcome.seen.len(), outcome.end),
                (0, protocol("close code is not allowed")),
                "{code}"
            );
        }
    }
}

#[test]
fn text_fails_at_the_first_impossible_byte_of_an_unfinished_frame() {
    let check = |frames: &[Vec<u8>], bad_at: usize| {
        let stream = frames.concat();
        let outcome = decode(stream.chunks(1), &limits());
        assert_eq!(
            (outcome.end, outcome.failed_in),
            (Some(Violation::NotUtf8), bad_at),
            "{stream:x?}"
        );
        // All that is needed for the verdict is there.
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
fn headers_fail_before_the_payload_comes() {
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
fn sizes_count_over_all_fragments() {
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
fn fragments_are_limited_even_if_empty() {
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
        "counted anew for each message"
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
fn whole_messages_are_lent_from_the_input_and_leave_no_state() {
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

    // State for what is incomplete goes with its completion.
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
fn nothing_is_read_after_the_end() {
    for end in [one(Close, b""), vec![0x83]] {
        let outcome = decode([&end[..], &one(Text, b"more"), &[0xFF; 20]], &limits());
        assert!(outcome.seen.len() + usize::from(outcome.end.is_some()) == 1);
    }
}
