//! Requests on the wire: arrays of bulk strings, and inline commands, which people type in a terminal.
//!
//! The reader does no I/O. Its caller passes the read buffer again whenever more has arrived; the reader keeps its position,
//! so it looks at every byte once. A request's arguments are slices of the read buffer.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use memchr::memchr;

pub use super::request::{ProtocolError, Request};
use super::{inline, request::ArgumentRanges};

/// The longest inline command, in bytes without its line end.
pub const MAX_INLINE: usize = 64 * 1024;
/// The longest line with a count or a length, in bytes: more than a sign and 19 digits.
const MAX_COUNT_LINE: usize = 64;
/// The digits of a number that cannot overflow.
const SHORT_NUMBER: usize = 9;
/// The first byte of a TLS handshake, and of no request.
const TLS_HANDSHAKE: u8 = 0x16;

/// The limits of one request. They are read again for each request, because a login widens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The most arguments, the command's name included.
    pub max_args: usize,
    /// The longest argument, in bytes.
    pub max_bulk: usize,
    /// The longest request, in bytes on the wire.
    pub max_request: usize,
    /// Whether these are the limits before a login; the errors name them.
    pub before_login: bool,
}

impl RequestLimits {
    /// The limits of a connection that has yet to log in: the ones of Redis itself.
    pub const BEFORE_LOGIN: Self = Self {
        max_args: 10,
        max_bulk: 16 * 1024,
        max_request: 64 * 1024,
        before_login: true,
    };

    /// The limits of a connection whose messages may have `max_bulk` bytes.
    pub const fn with_max_bulk(max_bulk: usize) -> Self {
        Self {
            max_args: 1024,
            max_bulk,
            max_request: max_bulk.saturating_add(64 * 1024),
            before_login: false,
        }
    }
}

/// Reads requests, and keeps its position in an incomplete one.
#[derive(Debug, Default)]
pub struct RequestReader {
    /// Arguments still to come; 0 between requests.
    left: usize,
    bulk: Option<usize>,
    at: usize,
    /// The buffer was searched for a line end up to this offset.
    searched: usize,
    ranges: ArgumentRanges,
}

impl RequestReader {
    /// Takes the next request out of `buffer`; `None` if it is incomplete.
    ///
    /// Between calls the caller may append to `buffer`, and may replace it only if it is empty.
    ///
    /// # Errors
    /// If the bytes are not the Redis protocol or break `limits`. The connection cannot continue after that.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        limits: &RequestLimits,
    ) -> Result<Option<Request>, ProtocolError> {
        while self.left == 0 {
            match buffer.first() {
                None => return Ok(None),
                Some(&TLS_HANDSHAKE) => return Err(ProtocolError::Tls),
                Some(b'*') => {
                    if !self.begin(buffer, limits)? {
                        return Ok(None);
                    }
                }
                Some(_) => match self.line(buffer, MAX_INLINE, ProtocolError::EndlessInline)? {
                    None => return Ok(None),
                    Some(line) => {
                        let request = inline::split(&buffer[line], limits.max_args)?;
                        buffer.advance(std::mem::take(&mut self.searched));
                        if request.is_some() {
                            return Ok(request);
                        }
                    }
                },
            }
        }
        while self.left > 0 {
            if !self.argument(buffer, limits)? {
                return Ok(None);
            }
        }
        self.searched = 0;
        Ok(Some(Request {
            bytes: buffer.split_to(std::mem::take(&mut self.at)).freeze(),
            ranges: std::mem::take(&mut self.ranges),
            inline: false,
        }))
    }

    /// Reads `*count`, and skips an empty request. Returns `false` if the line is incomplete.
    fn begin(&mut self, buffer: &mut BytesMut, limits: &RequestLimits) -> Result<bool, ProtocolError> {
        let header = self.header(buffer, ProtocolError::EndlessCount, ProtocolError::BadCount);
        let Some(count) = header? else {
            return Ok(false);
        };
        match count {
            -1 | 0 => {
                buffer.advance(std::mem::take(&mut self.searched));
                Ok(true)
            }
            1.. => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > limits.max_args {
                    return Err(if limits.before_login {
                        ProtocolError::CountBeforeLogin
                    } else {
                        ProtocolError::BadCount
                    });
                }
                self.left = count;
                self.at = self.searched;
                Ok(true)
            }
            _ => Err(ProtocolError::BadCount),
        }
    }

    fn argument(&mut self, buffer: &BytesMut, limits: &RequestLimits) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => match self.length(buffer, limits)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        // Neither sum can overflow: `length` keeps the limits.
        let end = self.at + length;
        let Some(line_end) = buffer.get(end..end + 2) else {
            self.bulk = Some(length);
            return Ok(false);
        };
        if line_end != b"\r\n" {
            return Err(ProtocolError::BadLength);
        }
        self.ranges.push(self.at..end);
        self.bulk = None;
        self.at = end + 2;
        self.searched = self.at;
        self.left -= 1;
        Ok(true)
    }

    fn length(&mut self, buffer: &BytesMut, limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NoDollar(other)),
        }
        let header = self.header(buffer, ProtocolError::EndlessLength, ProtocolError::BadLength);
        let Some(length) = header? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| ProtocolError::BadLength)?;
        if length > limits.max_bulk {
            return Err(if limits.before_login {
                ProtocolError::LengthBeforeLogin
            } else {
                ProtocolError::BadLength
            });
        }
        self.at = self.searched;
        if self.at.saturating_add(length) > limits.max_request {
            return Err(ProtocolError::TooBig);
        }
        Ok(Some(length))
    }

    /// Returns the number in the line `*…` or `$…` that begins at `at`; `None` if the line is incomplete. The errors are for a
    /// line that is too long, and for one without a number.
    fn header(
        &mut self,
        buffer: &BytesMut,
        endless: ProtocolError,
        bad: ProtocolError,
    ) -> Result<Option<i64>, ProtocolError> {
        if let Some(number) = self.short_header(buffer) {
            return Ok(Some(number));
        }
        match self.line(buffer, MAX_COUNT_LINE, endless)? {
            Some(line) => header(&buffer[line]).ok_or(bad).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the number in a line that begins at `at`, if it is short and has arrived whole, as nearly every line has. Costs a
    /// third of [`Self::line`] and [`header`]. `searched` is then the offset behind the line.
    fn short_header(&mut self, buffer: &BytesMut) -> Option<i64> {
        let line = buffer.get(self.at + 1..)?;
        let (mut number, mut digits) = (0, 0);
        while let Some(digit @ b'0'..=b'9') = line.get(digits)
            && digits < SHORT_NUMBER
        {
            number = number * 10 + i64::from(digit - b'0');
            digits += 1;
        }
        let is_plain = digits > 0 && (digits == 1 || line[0] != b'0');
        if !is_plain || line.get(digits..digits + 2) != Some(b"\r\n") {
            return None;
        }
        self.searched = self.at + 1 + digits + 2;
        Some(number)
    }

    /// Returns the line that begins at `at`, without its `\n`; `searched` is then the offset behind it.
    fn line(
        &mut self,
        buffer: &BytesMut,
        max: usize,
        endless: ProtocolError,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        let last = self.at + max;
        let unseen = buffer
            .get(self.searched..buffer.len().min(last + 1))
            .unwrap_or_default();
        if let Some(found) = memchr(b'\n', unseen) {
            let end = self.searched + found;
            self.searched = end + 1;
            return Ok(Some(self.at..end));
        }
        if buffer.len() > last {
            return Err(endless);
        }
        self.searched = buffer.len();
        Ok(None)
    }
}

fn header(line: &[u8]) -> Option<i64> {
    number(line.get(1..)?.strip_suffix(b"\r")?)
}

/// Reads a decimal number in its one spelling: no plus sign, no leading zeros, nothing around it.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests;
