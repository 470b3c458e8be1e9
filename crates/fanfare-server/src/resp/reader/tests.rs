#![allow(clippy::unwrap_used)]

use super::*;

const LIMITS: RequestLimits = RequestLimits {
    max_args: 16,
    max_bulk: 1000,
    max_request: 2000,
    before_login: false,
};

/// The outcome of a stream: the requests, and the error that ended it, if there was one.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<ProtocolError>,
    /// The bytes of an incomplete request.
    rest: usize,
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limits: &RequestLimits) -> Outcome {
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    let mut requests = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match reader.next(&mut buffer, limits) {
                Ok(Some(request)) => requests.push(request.args(0).map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => {
                    return Outcome {
                        requests,
                        error: Some(error),
                        rest: 0,
                    };
                }
            }
        }
    }
    Outcome {
        requests,
        error: None,
        rest: buffer.len(),
    }
}

/// Reads `stream` whole, byte by byte, and cut in two at each place. All outcomes must be equal.
fn outcome(stream: &[u8], limits: &RequestLimits) -> Outcome {
    let whole = read([stream], limits);
    assert_eq!(
        read(stream.chunks(1), limits),
        whole,
        "byte by byte: {}",
        stream.escape_ascii()
    );
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(
            read([head, tail], limits),
            whole,
            "cut at {cut}: {}",
            stream.escape_ascii()
        );
    }
    whole
}

#[test]
fn requests() {
    type Arguments = &'static [&'static [u8]];
    let cases: &[(&[u8], &[Arguments])] = &[
        (b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]),
        (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&[b"ECHO", b""]]),
        (b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n$1\r\n", &[&[b"ECHO", b"\r\n$1"]]),
        (b"PING\r\n", &[&[b"PING"]]),
        (b"PING\n", &[&[b"PING"]]),
        (b"\r\n\n  \r\nPING x\r\n", &[&[b"PING", b"x"]]),
        (b"*0\r\n*-1\r\nPING\n*0\r\n", &[&[b"PING"]]),
        (
            b"*1\r\n$4\r\nPING\r\nECHO 'a b'\r\n*1\r\n$4\r\nQUIT\r\n",
            &[&[b"PING"], &[b"ECHO", b"a b"], &[b"QUIT"]],
        ),
    ];
    for (stream, expected) in cases {
        let expected = expected
            .iter()
            .map(|request| request.iter().map(|arg| arg.to_vec()).collect())
            .collect();
        let wanted = Outcome {
            requests: expected,
            error: None,
            rest: 0,
        };
        assert_eq!(outcome(stream, &LIMITS), wanted, "{}", stream.escape_ascii());
    }
}

#[test]
fn errors() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] = &[
        (b"*-2\r\n", BadCount),
        (b"*17\r\n", BadCount),
        (b"*1000000000000000000\r\n", BadCount),
        (b"*99999999999999999999\r\n", BadCount),
        (b"*\r\n", BadCount),
        (b"*+1\r\n", BadCount),
        (b"*01\r\n", BadCount),
        (b"*-0\r\n", BadCount),
        (b"*x\r\n", BadCount),
        (b"*1\n$4\r\nPING\r\n", BadCount),
        (b"*1\r\n$-1\r\n", BadLength),
        (b"*1\r\n$-2\r\n", BadLength),
        (b"*1\r\n$1001\r\n", BadLength),
        (b"*1\r\n$1000000000000000000\r\n", BadLength),
        (b"*1\r\n$9223372036854775807\r\n", BadLength),
        (b"*1\r\n$18446744073709551616\r\n", BadLength),
        (b"*1\r\n$\r\n", BadLength),
        (b"*1\r\n$3\r\nPING\r\n", BadLength),
        (b"*1\r\nPING\r\n", NoDollar(b'P')),
        (b"*2\r\n$4\r\nPING\r\n:1\r\n", NoDollar(b':')),
        (b"PING \"\r\n", UnbalancedQuotes),
        (b"\x16\x03\x01", Tls),
    ];
    for (stream, expected) in cases {
        assert_eq!(
            outcome(stream, &LIMITS).error,
            Some(*expected),
            "{}",
            stream.escape_ascii()
        );
    }
}

#[test]
fn texts() {
    assert_eq!(ProtocolError::NoDollar(b'x').to_string(), "expected '$', got 'x'");
    assert_eq!(
        ProtocolError::NoDollar(b'\r').to_string(),
        r"expected '$', got '\r'"
    );
}

#[test]
fn endless_lines() {
    let long = |first: u8, length: usize| {
        let mut line = vec![b'1'; length];
        line[0] = first;
        line
    };
    let error = |stream: &[u8]| read([stream], &LIMITS).error;
    assert_eq!(error(&long(b'*', MAX_COUNT_LINE)), None);
    assert_eq!(
        error(&long(b'*', MAX_COUNT_LINE + 1)),
        Some(ProtocolError::EndlessCount)
    );
    let length = [b"*1\r\n".to_vec(), long(b'$', MAX_COUNT_LINE + 1)].concat();
    assert_eq!(error(&length), Some(ProtocolError::EndlessLength));
    assert_eq!(error(&long(b'A', MAX_INLINE)), None);
    assert_eq!(
        error(&long(b'A', MAX_INLINE + 1)),
        Some(ProtocolError::EndlessInline)
    );
    // The outcome does not depend on the time at which the end arrives.
    let ended = [long(b'A', MAX_INLINE + 1), b"\r\n".to_vec()].concat();
    assert_eq!(error(&ended), Some(ProtocolError::EndlessInline));
}

#[test]
fn before_login() {
    let error = |stream: &[u8]| outcome(stream, &RequestLimits::BEFORE_LOGIN).error;
    assert_eq!(error(b"*10\r\n"), None);
    assert_eq!(error(b"*11\r\n"), Some(ProtocolError::CountBeforeLogin));
    assert_eq!(error(b"*1\r\n$16384\r\n"), None);
    assert_eq!(error(b"*1\r\n$16385\r\n"), Some(ProtocolError::LengthBeforeLogin));
}

#[test]
fn a_request_is_limited_as_a_whole() {
    let argument = [b"$999\r\n".as_slice(), &[b'a'; 999], b"\r\n"].concat();
    let stream = [b"*3\r\n".as_slice(), &argument, &argument, b"$999\r\n"].concat();
    assert_eq!(read([&stream[..]], &LIMITS).error, Some(ProtocolError::TooBig));
    let fits = [b"*1\r\n".as_slice(), &argument].concat();
    assert_eq!(read([&fits[..]], &LIMITS).error, None);
}

#[test]
fn announced_lengths_are_not_allocated() {
    let limits = RequestLimits::with_max_bulk(8 << 20);
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    buffer.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$8388608\r\n");
    assert!(reader.next(&mut buffer, &limits).unwrap().is_none());
    assert!(buffer.capacity() < 1024);
}

#[test]
fn arguments_are_slices_of_the_buffer() {
    let mut buffer = BytesMut::from(&b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n"[..]);
    let range = buffer.as_ptr_range();
    let request = RequestReader::default()
        .next(&mut buffer, &LIMITS)
        .unwrap()
        .unwrap();
    assert!(range.contains(&request.slice(1).as_ptr()));
    assert_eq!(request.slice(1), "hello");
    assert_eq!((request.slice(2), request.get(2)), (bytes::Bytes::new(), None));
}

/// Each byte is scanned once: a large argument in small pieces, and a long line byte by byte.
#[test]
fn every_byte_is_scanned_once() {
    let limits = RequestLimits::with_max_bulk(8 << 20);
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    buffer.extend_from_slice(b"*1\r\n$100000\r\n");
    for _ in 0..100_001 {
        buffer.extend_from_slice(b"\n");
        assert!(reader.next(&mut buffer, &limits).unwrap().is_none());
        assert_eq!((reader.at, reader.searched), (13, 13));
    }
    let (mut reader, mut buffer) = (RequestReader::default(), BytesMut::new());
    for length in 1..=MAX_INLINE {
        buffer.extend_from_slice(b"a");
        assert!(reader.next(&mut buffer, &limits).unwrap().is_none());
        assert_eq!(reader.searched, length);
    }
}

#[test]
fn debug_output_shows_no_argument() {
    let mut buffer = BytesMut::from(&b"AUTH hunter2\r\n"[..]);
    let request = RequestReader::default()
        .next(&mut buffer, &LIMITS)
        .unwrap()
        .unwrap();
    assert_eq!(format!("{request:?}"), "Request(2 arguments, 11 bytes)");
}
