//! Compresses and decompresses messages (RFC 7692, section 7.2), each without the context of the others.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::utf8::Utf8;
use crate::{DeflateParams, Opcode, Violation, encode};

/// The last bytes of each compressed message, which its sender removes: length and complement of an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty final block. It ends the stream only between blocks, so it shows whether a message stops inside a block.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
/// The bytes that are decompressed between two checks of text and size.
const STEP: usize = 64 * 1024;
/// The size in bytes above which a buffer is freed at the next message.
const KEEP: usize = 256 * 1024;
/// The minimum size in bytes of a message that is compressed. A smaller one fits a packet anyway, and the reset of the
/// compressor costs more than the rest of the send.
const MIN_COMPRESSED: usize = 128;
/// The smallest window with which zlib compresses.
const MIN_WINDOW: u8 = 9;
const MAX_WINDOW: u8 = 15;
const WINDOWS: usize = (MAX_WINDOW - MIN_WINDOW) as usize + 1;

/// Returns the maximum compressed size of a message of `size` bytes. Data that does not compress grows a little; the
/// worst code, the fixed Huffman code, has at most 9 bits for 8.
pub(crate) fn longest_compressed(size: usize) -> usize {
    size.saturating_add(size / 8).saturating_add(64)
}

/// Decompresses one message at a time. It takes 45 KB and the message, so a thread has one for all its connections.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// The buffer. All its bytes are initialised, so no message has to clear it.
    out: Vec<u8>,
    len: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// Returns an inflater for every window size.
    pub fn new() -> Self {
        Self {
            stream: Decompress::new_with_window_bits(false, MAX_WINDOW),
            out: Vec::new(),
            len: 0,
        }
    }

    /// Returns the last decompressed message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.out[..self.len]
    }

    /// Decompresses a complete message of at most `max` bytes, with a buffer of at most one byte more.
    pub(crate) fn inflate(&mut self, compressed: &[u8], text: bool, max: usize) -> Result<(), Violation> {
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

    /// Decompresses all of `part`; returns `true` if a final block ends exactly there.
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
                // More blocks may follow a final one (RFC 7692, section 7.2.3.5).
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

    /// Doubles the buffer if it is full; returns the end of the next step. The buffer may have one byte more than `max`,
    /// to detect a longer message.
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
    // Both count bytes in memory.
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

/// Compresses one message at a time. It takes 270 KB for each window size in use, so a thread has one for all its
/// connections.
#[derive(Debug, Default)]
pub struct Deflater {
    streams: [Option<Compress>; WINDOWS],
    out: Vec<u8>,
}

impl Deflater {
    /// Returns a deflater. It allocates at its first message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses a message for a frame with RSV1, without the four bytes that the receiver appends. Returns `None` if
    /// zlib fails; then send the message uncompressed.
    ///
    /// `window_bits` is [`DeflateParams::server_max_window_bits`]. For 8, the compressor with 9 bits is used: zlib looks
    /// back at most its window minus 262 bytes, here 250.
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
            // Unused space means that the flush is complete.
            if rest.is_empty() && self.out.len() < self.out.capacity() {
                return self.out.strip_suffix(&TAIL);
            }
            self.out.reserve(STEP);
        }
    }

    /// Returns the frame of a message for a client that negotiated `params`: compressed if that makes it smaller.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8], params: DeflateParams) -> Bytes {
        if opcode.is_control() || payload.len() < MIN_COMPRESSED {
            return encode::frame(opcode, payload, false);
        }
        match self.compress(payload, params.server_max_window_bits) {
            Some(compressed) if compressed.len() < payload.len() => encode::frame(opcode, compressed, true),
            _ => encode::frame(opcode, payload, false),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testkit::random;

    fn inflate(compressed: &[u8], text: bool, max: usize) -> Result<Vec<u8>, Violation> {
        let mut inflater = Inflater::new();
        inflater
            .inflate(compressed, text, max)
            .map(|()| inflater.message().to_vec())
    }

    /// Messages of many kinds: empty, short, repetitive near and far, and noise.
    fn samples() -> Vec<Vec<u8>> {
        let mut state = 77;
        let mut samples = vec![vec![], b"a".to_vec(), b"Hello".to_vec()];
        for size in [20, 300, 600, 5000, 70_000, 200_000] {
            samples.push((0..size).map(|_| random(&mut state).to_be_bytes()[7]).collect());
            samples.push((0..size).map(|_| b"abc"[random(&mut state) % 3]).collect());
            // The same noise again and again, at a distance that a small window does not reach.
            for period in [200, 255, 257, 300, 520, 4000] {
                let noise: Vec<u8> = (0..period).map(|_| random(&mut state).to_be_bytes()[7]).collect();
                samples.push(noise.iter().copied().cycle().take(size).collect());
            }
        }
        samples
    }

    #[test]
    fn the_examples_of_the_rfc_are_decompressed() {
        // RFC 7692, section 7.2.3
        assert_eq!(
            inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", true, 5).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflate(b"\x00\x05\x00\xfa\xffHello\x00", true, 5).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflate(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", true, 5).unwrap(),
            b"Hello"
        );
        assert_eq!(
            inflate(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", true, 5).unwrap(),
            b"Hello"
        );
        assert_eq!(inflate(b"\x00", true, 0).unwrap(), b"");
    }

    #[test]
    fn streams_that_do_not_end_between_blocks_are_refused() {
        for bad in [
            &b""[..],                                // not even an empty block
            b"\xf2\x48\xcd\xc9\xc9\x07",             // the empty block at the end is missing
            b"\xf2\x48\xcd\xc9",                     // cut off inside a block
            b"\xf3\x48\xcd\xc9\xc9\x07\x00",         // the same after a final block
            b"\x00\x05\x00\xfa\xffHel",              // cut inside a stored block
            b"\x00\x05\x00\xfa\xfeHello\x00",        // wrong complement of the length
            b"\x07",                                 // reserved kind of block
            b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00", // more than the message
            b"\x4b\x04\x11\x00",                     // looks back before the start
        ] {
            assert_eq!(inflate(bad, false, 1000), Err(Violation::BadDeflate), "{bad:x?}");
        }
    }

    #[test]
    fn a_compressed_message_is_decompressed_to_itself() {
        let mut deflater = Deflater::new();
        let mut inflater = Inflater::new();
        for bits in 8..=15 {
            for sample in samples() {
                let compressed = deflater.compress(&sample, bits).unwrap();
                assert!(compressed.len() <= longest_compressed(sample.len()));
                inflater.inflate(compressed, false, sample.len()).unwrap();
                assert_eq!(inflater.message(), sample, "{bits} bits");
            }
        }
    }

    #[test]
    fn a_message_looks_back_at_most_its_window() {
        let mut deflater = Deflater::new();
        for bits in 9..=15 {
            for sample in samples() {
                let compressed = deflater.compress(&sample, bits).unwrap().to_vec();
                // An inflater that writes a few bytes at a time can look back only within its window.
                let mut inflater = Decompress::new_with_window_bits(false, bits);
                let mut plain: Vec<u8> = Vec::new();
                let mut rest = &compressed[..];
                loop {
                    let (was_in, was_out) = (inflater.total_in(), inflater.total_out());
                    let mut few = [0; 7];
                    inflater
                        .decompress(rest, &mut few, FlushDecompress::None)
                        .unwrap();
                    let made = difference(was_out, inflater.total_out());
                    rest = &rest[difference(was_in, inflater.total_in())..];
                    plain.extend(&few[..made]);
                    if made == 0 && rest.is_empty() {
                        break;
                    }
                }
                assert_eq!(plain, sample, "{bits} bits");
            }
        }
    }

    #[test]
    fn the_smallest_window_is_not_exceeded() {
        let mut state = 5;
        let mut deflater = Deflater::new();
        // Repeated noise shrinks only if the window covers its period.
        for period in (100..=240).step_by(20).chain(251..=520) {
            let noise: Vec<u8> = (0..period).map(|_| random(&mut state).to_be_bytes()[7]).collect();
            let sample: Vec<u8> = noise.iter().copied().cycle().take(4000).collect();
            let compressed = deflater.compress(&sample, 8).unwrap();
            assert_eq!(
                compressed.len() < 3000,
                period <= 250,
                "period {period}: {}",
                compressed.len()
            );
        }
    }

    #[test]
    fn decompression_stops_at_the_limit() {
        let bomb = Deflater::new().compress(&vec![0; 50 << 20], 15).unwrap().to_vec();
        assert!(bomb.len() < 60_000, "a bomb is small: {}", bomb.len());
        for max in [0, 1, 1000, STEP - 1, STEP, 1 << 20] {
            let mut inflater = Inflater::new();
            assert_eq!(inflater.inflate(&bomb, true, max), Err(Violation::TooBig));
            assert!(
                inflater.out.capacity() <= max + 1,
                "{} for {max}",
                inflater.out.capacity()
            );
        }
        assert_eq!(inflate(&bomb, false, 50 << 20).unwrap().len(), 50 << 20);
    }

    #[test]
    fn text_is_checked_during_decompression() {
        let mut deflater = Deflater::new();
        let mut text = b"\xff".to_vec();
        text.resize(50 << 20, b'a');
        let compressed = deflater.compress(&text, 15).unwrap();
        let mut inflater = Inflater::new();
        assert_eq!(
            inflater.inflate(compressed, true, usize::MAX),
            Err(Violation::NotUtf8)
        );
        assert!(inflater.out.len() <= STEP, "it stopped at once");
        // Characters across steps stay complete.
        let text = format!("a{}", "\u{20AC}".repeat(STEP));
        let compressed = deflater.compress(text.as_bytes(), 15).unwrap();
        inflater.inflate(compressed, true, usize::MAX).unwrap();
        assert_eq!(inflater.message(), text.as_bytes());
        let compressed = deflater.compress(&text.as_bytes()[..text.len() - 1], 15).unwrap();
        assert_eq!(
            inflater.inflate(compressed, true, usize::MAX),
            Err(Violation::NotUtf8)
        );
    }

    #[test]
    fn a_failed_message_does_not_affect_the_next() {
        let mut inflater = Inflater::new();
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        for bad in [&b"\xff\xff"[..], b"\x00\xff\xff\x00\x00abc", b"\xf2\x48\xcd"] {
            assert!(inflater.inflate(bad, true, 100).is_err());
            inflater.inflate(hello, true, 100).unwrap();
            assert_eq!(inflater.message(), b"Hello");
        }
        // No window from before: each message is independent.
        assert_eq!(
            inflater.inflate(b"\x02\x11\x00\x00", true, 100),
            Err(Violation::BadDeflate)
        );
    }

    #[test]
    fn frames_are_compressed_only_if_that_makes_them_smaller() {
        let mut deflater = Deflater::new();
        let params = DeflateParams {
            server_max_window_bits: 15,
        };
        let mut state = 9;
        let noise: Vec<u8> = (0..500).map(|_| random(&mut state).to_be_bytes()[7]).collect();
        for plain in [&b"ab"[..], &[b'a'; MIN_COMPRESSED - 1], &noise] {
            assert_eq!(
                deflater.frame(Opcode::Binary, plain, params),
                encode::frame(Opcode::Binary, plain, false)
            );
        }
        let frame = deflater.frame(Opcode::Text, &[b'a'; 500], params);
        assert_eq!(frame[0], 0xC1);
        assert_eq!(inflate(&frame[2..], true, 500).unwrap(), [b'a'; 500]);
        assert_eq!(deflater.frame(Opcode::Ping, b"p", params)[0], 0x89);
    }
}
