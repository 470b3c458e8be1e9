//! Checks UTF-8 in pieces, and fails at the first byte that no valid text can have there.

use crate::Violation;

/// The incomplete character at the end of the pieces so far: at most 3 bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Utf8 {
    incomplete: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Checks the next piece of the text.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let piece = self.complete_character(piece)?;
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                // The piece ends inside a character that is valid so far.
                for &byte in &piece[error.valid_up_to()..] {
                    self.push(byte);
                }
                Ok(())
            }
            Err(_) => Err(Violation::NotUtf8),
        }
    }

    /// Checks that the text does not end inside a character.
    pub(crate) fn finish(self) -> Result<(), Violation> {
        if self.len == 0 {
            Ok(())
        } else {
            Err(Violation::NotUtf8)
        }
    }

    /// Moves bytes from `piece` to the incomplete character until it is complete; returns the rest of `piece`.
    fn complete_character<'p>(&mut self, mut piece: &'p [u8]) -> Result<&'p [u8], Violation> {
        while self.len > 0
            && let Some((&byte, rest)) = piece.split_first()
        {
            self.push(byte);
            piece = rest;
            match std::str::from_utf8(&self.incomplete[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Violation::NotUtf8),
            }
        }
        Ok(piece)
    }

    fn push(&mut self, byte: u8) {
        self.incomplete[usize::from(self.len)] = byte;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bad_at` is the index of the first byte that no valid text can have there.
    fn check(text: &[u8], bad_at: Option<usize>, complete: bool) {
        for size in 1..=text.len().max(1) {
            let mut utf8 = Utf8::default();
            let failed_in = text.chunks(size).position(|piece| utf8.feed(piece).is_err());
            assert_eq!(
                failed_in,
                bad_at.map(|at| at / size),
                "{text:x?} in pieces of {size}"
            );
            if bad_at.is_none() {
                assert_eq!(utf8.finish().is_ok(), complete, "{text:x?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn text_fails_at_its_first_invalid_byte() {
        check(b"", None, true);
        check(
            "κόσμε plain \u{10FFFF}\u{FFFF}\0 \u{7FF}\u{800}".as_bytes(),
            None,
            true,
        );
        check("\u{1F600}".repeat(40).as_bytes(), None, true);
        check(b"ab\xff", Some(2), false);
        check(b"\x80", Some(0), false);
        check(b"\xc0\x80", Some(0), false);
        check(b"\xc1\xbf", Some(0), false);
        check(b"a\xe0\x9f\xbf", Some(2), false); // overlong
        check(b"\xed\xa0\x80", Some(1), false); // surrogate
        check(b"\xf0\x8f\xbf\xbf", Some(1), false); // overlong
        check(b"\xf4\x90\x80\x80", Some(1), false); // above U+10FFFF
        check(b"\xf5\x80", Some(0), false);
        check(b"\xe2\x82\x41", Some(2), false);
        check(b"\xf0\x9f\x98\x41", Some(3), false);
        check(b"\xf0\x9f\x98", None, false);
        check(b"x\xce", None, false);
        let mut long = b"0123456789".repeat(30);
        long.extend(b"\xed\xbf");
        check(&long, Some(301), false);
    }
}
