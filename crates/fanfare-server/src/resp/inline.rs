//! Inline commands: a line split into arguments the way Redis does, quotes and escapes included.

use bytes::Bytes;

use super::request::{ArgumentRanges, ProtocolError, Request};

/// Splits `line` (with or without the `\r` of its end) into at most `max_args`; returns `None` if it is empty.
pub(super) fn split(line: &[u8], max_args: usize) -> Result<Option<Request>, ProtocolError> {
    let mut text = Vec::with_capacity(line.len());
    let mut ranges = ArgumentRanges::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_blank(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            break;
        }
        if ranges.len() == max_args {
            return Err(ProtocolError::EndlessInline);
        }
        let begin = text.len();
        rest = argument(rest, &mut text)?;
        ranges.push(begin..text.len());
    }
    Ok((!ranges.is_empty()).then(|| Request {
        bytes: Bytes::from(text),
        ranges,
        inline: true,
    }))
}

fn argument<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        let behind_quote = match rest {
            [] => return Ok(rest),
            [byte, ..] if is_blank(*byte) => return Ok(rest),
            [quote @ (b'"' | b'\''), tail @ ..] => quoted(tail, *quote, text)?,
            [byte, tail @ ..] => {
                text.push(*byte);
                rest = tail;
                continue;
            }
        };
        // A closing quote ends the argument.
        return match behind_quote {
            [byte, ..] if !is_blank(*byte) => Err(ProtocolError::UnbalancedQuotes),
            behind => Ok(behind),
        };
    }
}

/// Reads up to the closing `quote`. In single quotes only `\'` is an escape.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, text: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let has_escapes = quote == b'"';
    loop {
        let (byte, tail) = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [end, tail @ ..] if *end == quote => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [b'\\', escaped @ ..] if has_escapes && !escaped.is_empty() => unescaped(escaped),
            [byte, tail @ ..] => (*byte, tail),
        };
        text.push(byte);
        rest = tail;
    }
}

/// Returns the byte of the escape behind a backslash, and the text behind it.
fn unescaped(escaped: &[u8]) -> (u8, &[u8]) {
    let digit = |at: usize| char::from(*escaped.get(at)?).to_digit(16);
    if escaped[0] == b'x'
        && let (Some(high), Some(low)) = (digit(1), digit(2))
    {
        return (u8::try_from(high << 4 | low).unwrap_or_default(), &escaped[3..]);
    }
    let byte = match escaped[0] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    };
    (byte, &escaped[1..])
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the arguments in `line`; `None` for unbalanced quotes.
    fn arguments(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        match split(line, 8) {
            Ok(None) => Some(Vec::new()),
            Ok(Some(request)) => Some(request.args(0).map(<[u8]>::to_vec).collect()),
            Err(error) => {
                assert_eq!(error, ProtocolError::UnbalancedQuotes);
                None
            }
        }
    }

    #[test]
    fn splits_as_redis_does() {
        type Expected = Option<&'static [&'static [u8]]>;
        let cases: &[(&[u8], Expected)] = &[
            (b"PING", Some(&[b"PING"])),
            (b"  PING\t a  \r", Some(&[b"PING", b"a"])),
            (b"", Some(&[])),
            (b" \t\r", Some(&[])),
            (br#"ECHO """#, Some(&[b"ECHO", b""])),
            (br#"ECHO "a b""#, Some(&[b"ECHO", b"a b"])),
            (br#"ECHO pre"a b""#, Some(&[b"ECHO", b"prea b"])),
            (br#""\n\r\t\b\a\\\"\q""#, Some(&[b"\n\r\t\x08\x07\\\"q"])),
            (br#""\x41\xfF\xg1\x4""#, Some(&[b"A\xffxg1x4"])),
            (br"'a\'b' c", Some(&[b"a'b", b"c"])),
            (br#"'a\n"b'"#, Some(&[br#"a\n"b"#])),
            (
                br#"p '{"type":"t","payload":1}'"#,
                Some(&[b"p", br#"{"type":"t","payload":1}"#]),
            ),
            (br#"""#, None),
            (br"'", None),
            (br#""a"b"#, None),
            (br"'a'b", None),
            (br"'a\'", None),
            (br#""a\"#, None),
            (br#""a\"""#, Some(&[b"a\""])),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|all| all.iter().map(|one| one.to_vec()).collect::<Vec<_>>());
            assert_eq!(arguments(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn arguments_are_counted() {
        assert!(split(b"a b c", 3).is_ok());
        assert_eq!(split(b"a b c", 2).err(), Some(ProtocolError::EndlessInline));
    }
}
