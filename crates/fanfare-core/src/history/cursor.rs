//! Cursors: places in a journal, as strings that are opaque to clients.

use std::{fmt, str::FromStr};

/// The maximum length of a cursor: sixteen digits, a hyphen, sixteen digits.
const MAX_BYTES: usize = 33;

/// The name of a journal. A journal that may have lost events continues under a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// The place in a journal after the event of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The journal.
    pub epoch: Epoch,
    /// The number of the last event before the place; 0 for the beginning.
    pub number: u64,
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.epoch.0, self.number)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    /// Parses exactly the form of `Display`, so a place has only one text.
    fn from_str(text: &str) -> Result<Self, BadCursor> {
        if text.len() > MAX_BYTES {
            return Err(BadCursor);
        }
        let (epoch, number) = text.split_once('-').ok_or(BadCursor)?;
        if epoch.len() != 16 || (number.len() > 1 && number.starts_with('0')) {
            return Err(BadCursor);
        }
        Ok(Self {
            epoch: Epoch(hexadecimal(epoch)?),
            number: hexadecimal(number)?,
        })
    }
}

fn hexadecimal(text: &str) -> Result<u64, BadCursor> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.is_empty() || !text.bytes().all(is_digit) {
        return Err(BadCursor);
    }
    u64::from_str_radix(text, 16).map_err(|_| BadCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_from_its_text() {
        for (epoch, number, text) in [
            (0, 0, "0000000000000000-0"),
            (0x9f3c, 26, "0000000000009f3c-1a"),
            (u64::MAX, u64::MAX, "ffffffffffffffff-ffffffffffffffff"),
        ] {
            let cursor = Cursor {
                epoch: Epoch(epoch),
                number,
            };
            assert_eq!(cursor.to_string(), text);
            assert_eq!(text.parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "0".repeat(10 << 20);
        for bad in [
            "",
            "-",
            "0",
            "0000000000000000-",
            "-0",
            "0000000000000000-00",
            "0000000000000000-01",
            "000000000000000-0",
            "00000000000000000-0",
            "000000000000000A-0",
            "+000000000000000-0",
            "0000000000000000-+1",
            "0000000000000000--1",
            "0000000000000000-1 ",
            "0000000000000000-10000000000000000",
            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0-\0",
            "000000000000000\u{e9}-1",
            &long,
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad:.40}");
        }
    }
}
