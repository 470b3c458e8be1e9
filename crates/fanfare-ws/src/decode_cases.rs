//! Streams with their expected results, which do not depend on how a stream is split.

use crate::testkit::{KEY, Seen, deflate_limits, limits, one, part};
use crate::{Deflater, Limits, Opcode, Violation, encode};
use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
use Violation::{BadDeflate, NotUtf8, Protocol, TooBig};

/// A stream and its expected result.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) stream: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) seen: Vec<Seen>,
    pub(crate) end: Option<Violation>,
}

pub(crate) fn all() -> impl Iterator<Item = Case> {
    let plain = [
        messages(),
        fragments(),
        bad_lengths(),
        bad_bits(),
        bad_order(),
        bad_text(),
    ];
    plain
        .into_iter()
        .chain([compressed_messages(), bad_compression()])
        .flatten()
}

fn good(what: &'static str, frames: &[Vec<u8>], seen: &[Seen]) -> Case {
    Case {
        what,
        stream: frames.concat(),
        limits: limits(),
        seen: seen.to_vec(),
        end: None,
    }
}

fn bad(what: &'static str, frames: &[Vec<u8>], seen: &[Seen], end: Violation) -> Case {
    Case {
        end: Some(end),
        ..good(what, frames, seen)
    }
}

fn with_deflate(mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        case.limits = deflate_limits();
    }
    cases
}

pub(crate) fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

pub(crate) fn binary(bytes: &[u8]) -> Seen {
    Seen::Binary(bytes.to_vec())
}

fn ping(bytes: &[u8]) -> Seen {
    Seen::Ping(bytes.to_vec())
}

/// Returns a frame with these first two bytes.
pub(crate) fn raw(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, second], rest].concat()
}

fn messages() -> Vec<Case> {
    let long = vec![b'x'; 70_000];
    let umlauts = "Hello-µ@ßöäüàá";
    vec![
        good("nothing", &[], &[]),
        good("empty text", &[one(Text, b"")], &[text("")]),
        good("text", &[one(Text, umlauts.as_bytes())], &[text(umlauts)]),
        good("binary", &[one(Binary, &[0xFE; 126])], &[binary(&[0xFE; 126])]),
        good(
            "sixteen bit length",
            &[one(Binary, &long[..65535])],
            &[binary(&long[..65535])],
        ),
        good("long length", &[one(Binary, &long)], &[binary(&long)]),
        good(
            "pings",
            &[one(Ping, b""), one(Ping, &[0; 125])],
            &[ping(b""), ping(&[0; 125])],
        ),
        good(
            "pong",
            &[one(Pong, b"unasked")],
            &[Seen::Pong(b"unasked".to_vec())],
        ),
        good(
            "close",
            &[one(Close, b""), one(Text, b"late")],
            &[Seen::Close(None)],
        ),
        good(
            "close inside a message",
            &[
                part(Text, b"x"),
                one(Close, b"\x03\xe8bye \xc3\xa4"),
                vec![0xFF; 9],
            ],
            &[Seen::Close(Some((1000, "bye ä".to_owned())))],
        ),
        good(
            "unfinished",
            &[one(Text, b"a"), one(Text, b"bcd")[..8].to_vec()],
            &[text("a")],
        ),
    ]
}

fn fragments() -> Vec<Case> {
    let empty = part(Continuation, b"");
    vec![
        good(
            "control frames in between",
            &[
                part(Text, b"ab"),
                one(Ping, b"1"),
                empty.clone(),
                one(Pong, b"2"),
                one(Continuation, b"c"),
            ],
            &[ping(b"1"), Seen::Pong(b"2".to_vec()), text("abc")],
        ),
        good(
            "empty fragments",
            &[part(Text, b""), empty.clone(), one(Continuation, b"")],
            &[text("")],
        ),
        good(
            "split characters",
            &[
                part(Text, b"\xce"),
                part(Continuation, b"\xba\xf0\x9f"),
                one(Continuation, b"\x98\x80"),
            ],
            &[text("κ\u{1F600}")],
        ),
        good(
            "messages one after another",
            &[
                one(Text, b"a"),
                part(Binary, b"\xff"),
                one(Continuation, b"\xfe"),
                one(Text, b"b"),
            ],
            &[text("a"), binary(b"\xff\xfe"), text("b")],
        ),
    ]
}

fn bad_lengths() -> Vec<Case> {
    let shortest = Protocol("length is not in its shortest form");
    let long = |len: u64| raw(0x82, 0xFF, &[&len.to_be_bytes()[..], &KEY].concat());
    vec![
        bad(
            "long ping",
            &[one(Ping, &[1; 126])],
            &[],
            Protocol("control frame is too long"),
        ),
        bad(
            "long close",
            &[one(Close, &[3; 126])],
            &[],
            Protocol("control frame is too long"),
        ),
        bad(
            "long form of 125",
            &[raw(0x82, 0xFE, &[0, 125, 0, 0, 0, 0])],
            &[],
            shortest,
        ),
        bad("longest form of 5", &[long(5)], &[], shortest),
        bad("longest form of 65535", &[long(65535)], &[], shortest),
        bad(
            "top bit",
            &[raw(0x82, 0xFF, &[0x80])],
            &[],
            Protocol("length has its top bit set"),
        ),
        bad("a gigabyte", &[long(1 << 30)], &[], TooBig),
        bad("all there is", &[long(i64::MAX.cast_unsigned())], &[], TooBig),
        bad("one too many", &[long((1 << 20) + 1)], &[], TooBig),
    ]
}

fn bad_bits() -> Vec<Case> {
    let with_first = |first| [one(Binary, b"a"), raw(first, 0x80, &[0; 4])];
    let reserved_bits = [0x91, 0xA1, 0xC1, 0xF1, 0x99, 0xC9, 0xC8].map(|first| {
        bad(
            "reserved bits",
            &with_first(first),
            &[binary(b"a")],
            Protocol("reserved bit is set"),
        )
    });
    let opcodes = [0x83, 0x84, 0x85, 0x86, 0x87, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x03].map(|first| {
        bad(
            "reserved opcode",
            &with_first(first),
            &[binary(b"a")],
            Protocol("reserved opcode"),
        )
    });
    let server_frame = encode::frame(Text, b"b", false).to_vec();
    let unmasked = Protocol("client frame is not masked");
    let mut cases = vec![
        bad(
            "unmasked",
            &[one(Text, b"a"), server_frame],
            &[text("a")],
            unmasked,
        ),
        bad(
            "fragmented ping",
            &[part(Ping, b"a")],
            &[],
            Protocol("control frame is fragmented"),
        ),
        bad(
            "fragmented close",
            &[part(Close, b"")],
            &[],
            Protocol("control frame is fragmented"),
        ),
    ];
    cases.extend(reserved_bits);
    cases.extend(opcodes);
    cases
}

fn bad_order() -> Vec<Case> {
    let lone = Protocol("continuation without a message");
    let nested = Protocol("new message inside a fragmented one");
    let last = || one(Continuation, b"b");
    vec![
        bad("lone continuation", &[part(Continuation, b"a")], &[], lone),
        bad(
            "continuation of a whole",
            &[one(Text, b"a"), last()],
            &[text("a")],
            lone,
        ),
        bad(
            "second end",
            &[part(Text, b"a"), last(), last()],
            &[text("ab")],
            lone,
        ),
        bad(
            "message in message",
            &[part(Text, b"a"), one(Text, b"b")],
            &[],
            nested,
        ),
        bad(
            "start in message",
            &[part(Text, b"a"), part(Binary, b"b")],
            &[],
            nested,
        ),
    ]
}

fn bad_text() -> Vec<Case> {
    vec![
        bad(
            "short close",
            &[one(Close, b"\x03")],
            &[],
            Protocol("close code is cut off"),
        ),
        bad("close reason", &[one(Close, b"\x03\xe8\xff")], &[], NotUtf8),
        bad("cut close reason", &[one(Close, b"\x03\xe8a\xc3")], &[], NotUtf8),
        bad("ends inside a character", &[one(Text, b"a\xce")], &[], NotUtf8),
        bad(
            "ends so in fragments",
            &[part(Text, b"a\xe2\x82"), one(Continuation, b"")],
            &[],
            NotUtf8,
        ),
        bad(
            "surrogate",
            &[one(Ping, b""), one(Text, b"\xed\xa0\x80")],
            &[ping(b"")],
            NotUtf8,
        ),
    ]
}

fn packed(payload: &[u8]) -> Vec<u8> {
    Deflater::new()
        .compress(payload, 15)
        .map(<[u8]>::to_vec)
        .unwrap_or_default()
}

fn whole(payload: &[u8]) -> Vec<u8> {
    encode::masked_fragment(Text, true, true, payload, KEY).to_vec()
}

fn first(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    encode::masked_fragment(opcode, false, true, payload, KEY).to_vec()
}

fn compressed_messages() -> Vec<Case> {
    let greeting = "Hello κόσμε ".repeat(20);
    let hello = packed(greeting.as_bytes());
    let noise: Vec<u8> = (0..3000_u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let (middle, end) = (part(Continuation, &hello[5..9]), one(Continuation, &hello[9..]));
    with_deflate(vec![
        good(
            "whole",
            &[whole(&hello), one(Text, b"plain"), whole(&hello)],
            &[text(&greeting), text("plain"), text(&greeting)],
        ),
        good(
            "fragments",
            &[first(Text, &hello[..5]), one(Ping, b""), middle, end],
            &[ping(b""), text(&greeting)],
        ),
        good(
            "binary",
            &[first(Binary, &packed(&noise)), one(Continuation, b"")],
            &[binary(&noise)],
        ),
        good("empty", &[whole(b"\0")], &[text("")]),
    ])
}

fn bad_compression() -> Vec<Case> {
    let hello = packed(b"Hello, hello, hello, hello");
    let too_long = raw(0xC2, 0xFF, &[0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0]);
    let marked = Protocol("only a message's first frame may be marked compressed");
    with_deflate(vec![
        bad("not inflatable", &[whole(b"\xff\xff\xff")], &[], BadDeflate),
        bad("cut off", &[whole(&hello[..hello.len() - 3])], &[], BadDeflate),
        bad("not text", &[whole(&packed(b"abc\xff"))], &[], NotUtf8),
        bad(
            "too big inflated",
            &[whole(&packed(&vec![0; (1 << 20) + 1]))],
            &[],
            TooBig,
        ),
        bad("too big as it is", &[too_long], &[], TooBig),
        bad("marked ping", &[raw(0xC9, 0x80, &[0; 4])], &[], marked),
        bad("marked close", &[raw(0xC8, 0x80, &[0; 4])], &[], marked),
        bad(
            "marked continuation",
            &[part(Text, b"a"), raw(0xC0, 0x80, &[0; 4])],
            &[],
            marked,
        ),
    ])
}
