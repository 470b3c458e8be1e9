//! Message compression (RFC 7692, section 7.2), always without context takeover: each message stands alone.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::utf8::Utf8;
use super::{DeflateParams, Opcode, Violation, encode};

/// What the sender cut off the end of each message: length and complement of an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty block with the "final" bit: only between blocks does it end the stream, so a message that stops in
/// the middle of a block is found out.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
/// Bytes inflated at a time between checks of text and size.
const STEP: usize = 64 * 1024;
/// Buffers that grew above this shrink at the next message.
const KEEP: usize = 256 * 1024;
/// The smallest window zlib compresses with.
const MIN_WINDOW: u8 = 9;
const MAX_WINDOW: u8 = 15;
const WINDOWS: usize = (MAX_WINDOW - MIN_WINDOW) as usize + 1;

/// The most bytes a message of `size` bytes may take compressed. Data which does not compress grows a little;
/// even the fixed Huffman code, the worst choice there is, makes at most 9 bits of 8.
pub(super) fn longest_compressed(size: usize) -> usize {
    size.saturating_add(size / 8).saturating_add(64)
}

/// Inflates compressed messages, one at a time. About 45 KB and the message: one per thread.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// Kept zeroed or used up to its length, so that no message pays for clearing it.
    out: Vec<u8>,
    len: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// Reads every window size, whatever was negotiated.
    pub fn new() -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, MAX_WINDOW),
            out: Vec::new(),
            len: 0,
        }
    }

    /// The last message that was inflated.
    pub(super) fn message(&self) -> &[u8] {
        &self.out[..self.len]
    }

    /// Inflates one whole message of at most `max` bytes, never holding more than that (and one byte).
    pub(super) fn inflate(&mut self, compressed: &[u8], text: bool, max: usize) -> Result<(), Violation> {
        self.stream.reset(false);
        self.len = 0;
        if self.out.len() > KEEP {
            self.out = Vec::new();
        }
        let mut utf8 = text.then(Utf8::default);
        self.run(compressed, utf8.as_mut(), max)?;
        let len = self.len;
        self.run(&TAIL, None, max)?;
        let ended = self.run(&FINAL_BLOCK, None, max)?;
        if !ended || self.len != len {
            return Err(Violation::BadDeflate);
        }
        utf8.map_or(Ok(()), Utf8::finish)
    }

    /// Inflates all of `part`; tells whether a final block ended exactly there.
    fn run(&mut self, mut part: &[u8], mut utf8: Option<&mut Utf8>, max: usize) -> Result<bool, Violation> {
        loop {
            let end = self.make_room(max);
            let (was_in, was_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(part, &mut self.out[self.len..end], FlushDecompress::None)
                .map_err(|_| Violation::BadDeflate)?;
            let taken = difference(was_in, self.stream.total_in());
            let made = self.len..self.len + difference(was_out, self.stream.total_out());
            part = &part[taken..];
            self.len = made.end;
            if let Some(utf8) = &mut utf8 {
                utf8.feed(&self.out[made.clone()])?;
            }
            if self.len > max {
                return Err(Violation::TooBig);
            }
            if status == Status::StreamEnd {
                // A sender may end a message's blocks with a final one and go on (RFC 7692, section 7.2.3.5).
                self.stream.reset(false);
                if part.is_empty() {
                    return Ok(true);
                }
            } else if part.is_empty() && self.len < end {
                return Ok(false);
            } else if taken == 0 && made.is_empty() {
                return Err(Violation::BadDeflate);
            }
        }
    }

    /// Makes sure that some bytes fit after `len`, by doubling; returns how far this step may write. That is
    /// one byte above `max`, which tells a message of just that size from a longer one.
    fn make_room(&mut self, max: usize) -> usize {
        let most = max.saturating_add(1);
        let end = self.len.saturating_add(STEP).min(most);
        if self.out.len() < end {
            let target = self.out.len().saturating_mul(2).clamp(end, most);
            self.out.reserve_exact(target - self.out.len());
            self.out.resize(target, 0);
        }
        end
    }
}

fn difference(before: u64, after: u64) -> usize {
    // Both count bytes of slices in memory.
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

/// Compresses messages, one at a time. About 270 KB for each window size in use: one per thread.
#[derive(Debug, Default)]
pub struct Deflater {
    streams: [Option<Compress>; WINDOWS],
    out: Vec<u8>,
}

impl Deflater {
    /// Allocates nothing until it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses one message for a frame with RSV1, without the four bytes that the receiver adds itself.
    ///
    /// `window_bits` is [`DeflateParams::server_max_window_bits`]. For 8 the 9-bit compressor serves: zlib never
    /// looks back further than its window less 262 bytes, here 250. `None` if zlib fails, which it has no reason
    /// to; the message can then go uncompressed.
    pub fn compress(&mut self, payload: &[u8], window_bits: u8) -> Option<&[u8]> {
        let bits = window_bits.clamp(MIN_WINDOW, MAX_WINDOW);
        let stream = self.streams[usize::from(bits - MIN_WINDOW)]
            .get_or_insert_with(|| Compress::new_with_window_bits(Compression::default(), false, bits));
        stream.reset();
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        self.out.clear();
        self.out.reserve(longest_compressed(payload.len()));
        let mut rest = payload;
        loop {
            let before = stream.total_in();
            stream
                .compress_vec(rest, &mut self.out, FlushCompress::Sync)
                .ok()?;
            rest = rest.get(difference(before, stream.total_in())..)?;
            // Room left over means that the flush is complete.
            if rest.is_empty() && self.out.len() < self.out.capacity() {
                return self.out.strip_suffix(&TAIL);
            }
            self.out.reserve(STEP);
        }
    }

    /// A whole frame for a client that negotiated `params`: compressed, or plain where that is not longer.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8], params: DeflateParams) -> Bytes {
        match self.compress(payload, params.server_max_window_bits) {
            Some(compressed) if compressed.len() < payload.len() => encode::frame(opcode, compressed, true),
            _ => encode::frame(opcode, payload, false),
        }
    }
}
