//! One request of a publisher, and the errors after which a connection is closed.

use std::{fmt, ops::Range};

use bytes::Bytes;
use smallvec::SmallVec;

/// A violation of the protocol. Each closes the connection; the texts are Redis' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The text behind `*` is no number, or a number that is too large.
    #[error("invalid multibulk length")]
    BadCount,
    /// More arguments than a client may send before it logs in.
    #[error("unauthenticated multibulk length")]
    CountBeforeLogin,
    /// The text behind `$` is no number or a number that is too large, or the argument does not end where it should.
    #[error("invalid bulk length")]
    BadLength,
    /// A longer argument than a client may send before it logs in.
    #[error("unauthenticated bulk length")]
    LengthBeforeLogin,
    /// An argument that is not a bulk string, with its first byte.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    NoDollar(u8),
    /// `*` and no line end for too long.
    #[error("too big mbulk count string")]
    EndlessCount,
    /// `$` and no line end for too long.
    #[error("too big bulk count string")]
    EndlessLength,
    /// An inline command without an end, or with too many arguments.
    #[error("too big inline request")]
    EndlessInline,
    /// An inline command with a quote that nothing closes.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Each argument is within its limit, but all together are too long.
    #[error("too big request")]
    TooBig,
    /// The peer speaks TLS.
    #[error("this port does not speak TLS")]
    Tls,
}

/// The arguments' ranges; most requests here have three.
pub(super) type ArgumentRanges = SmallVec<[Range<usize>; 4]>;

/// One request: a command's name and its arguments. Has at least one argument.
#[derive(Clone)]
pub struct Request {
    pub(super) bytes: Bytes,
    pub(super) ranges: ArgumentRanges,
    pub(super) inline: bool,
}

// A request without arguments is never made, so `is_empty` would have no meaning.
#[allow(clippy::len_without_is_empty)]
impl Request {
    /// Returns the number of arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns the argument at `index` (0 is the command's name), if there is one.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.ranges.get(index)?.clone())
    }

    /// Returns the argument at `index`; an empty one if there is none.
    pub fn arg(&self, index: usize) -> &[u8] {
        self.get(index).unwrap_or_default()
    }

    /// Returns the argument at `index` as a part of the request's bytes, without a copy; an empty one if there is none.
    pub fn slice(&self, index: usize) -> Bytes {
        self.ranges
            .get(index)
            .map(|range| self.bytes.slice(range.clone()))
            .unwrap_or_default()
    }

    /// Returns the arguments from `first` on.
    pub fn args(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        (first..self.len()).map(|index| self.arg(index))
    }

    /// Returns whether it arrived as an inline command.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// Returns the number of bytes that it keeps in memory.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Request {
    /// Prints only the sizes: arguments may be passwords and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} arguments, {} bytes)", self.len(), self.size())
    }
}
