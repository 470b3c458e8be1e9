//! The received bytes of one read, and the decoder's position in them.

use std::ops::Range;

/// The received bytes with the decoder's position in them. The decoder unmasks them in place.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
    frames: u32,
}

impl<'b> Input<'b> {
    /// Returns an input at the start of `bytes`.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            frames: 0,
        }
    }

    /// Returns the bytes that the decoder has not read yet, still masked.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Skips all remaining bytes.
    pub fn discard(&mut self) {
        self.at = self.bytes.len();
    }

    /// Returns the number of complete headers that the decoder has read.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    pub(crate) fn begin_frame(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// Takes up to `most` bytes from the front, and returns their range.
    pub(crate) fn take(&mut self, most: usize) -> Range<usize> {
        let start = self.at;
        self.at = start.saturating_add(most).min(self.bytes.len());
        start..self.at
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }
}
