//! The bytes of one read, and the decoder's position in them.

use std::ops::Range;

/// A cursor over received bytes. They are unmasked in place, so the decoder needs them mutable.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
    frames: u32,
}

impl<'b> Input<'b> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            frames: 0,
        }
    }

    /// The bytes that the decoder has not taken yet, still masked.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Takes all that is left, whatever it is.
    pub fn discard(&mut self) {
        self.at = self.bytes.len();
    }

    /// The number of frames that began in the bytes taken: the headers that were read completely.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Counts a frame.
    pub(crate) fn begin_frame(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// Takes up to `most` bytes from the front and returns their range.
    pub(crate) fn take(&mut self, most: usize) -> Range<usize> {
        let start = self.at;
        self.at = start.saturating_add(most).min(self.bytes.len());
        start..self.at
    }

    /// The bytes at a place that [`Input::take`] gave.
    pub(crate) fn bytes(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// The bytes at a place that [`Input::take`] gave, to be unmasked.
    pub(crate) fn bytes_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        &mut self.bytes[place]
    }
}
