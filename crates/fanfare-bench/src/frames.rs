//! Counts the frames of a stream by their headers, without their payloads.

/// Counts complete units in a stream that is read in pieces.
pub(crate) trait Counter {
    /// Returns the number of units that `bytes`, the next piece of the stream, completes.
    fn take(&mut self, bytes: &[u8]) -> u64;
}

/// Counts the data frames of a server by their headers. A fragmented message counts as several.
#[derive(Debug, Default)]
pub(crate) struct FrameCounter {
    /// The bytes of a header that was cut off by the end of a piece.
    partial: [u8; MAX_HEADER],
    partial_len: usize,
    /// The missing payload bytes of the frame whose header was read last.
    payload_left: u64,
    is_data: bool,
}

/// The longest header of an unmasked frame: two bytes and a length of eight.
const MAX_HEADER: usize = 10;

impl Counter for FrameCounter {
    fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut frames = 0;
        loop {
            let skipped = usize::try_from(self.payload_left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            bytes = &bytes[skipped..];
            self.payload_left -= skipped as u64;
            if self.payload_left > 0 {
                return frames;
            }
            frames += u64::from(std::mem::take(&mut self.is_data));
            match self.parse_rest(bytes) {
                Some(used) => bytes = &bytes[used..],
                None => return frames,
            }
        }
    }
}

impl FrameCounter {
    /// Parses the kept part and the start of `bytes` as a header. Returns the number of bytes used; `None` if the header is
    /// incomplete.
    fn parse_rest(&mut self, bytes: &[u8]) -> Option<usize> {
        let kept = self.partial_len;
        let fresh = bytes.len().min(MAX_HEADER - kept);
        let mut header = self.partial;
        header[kept..kept + fresh].copy_from_slice(&bytes[..fresh]);
        if let Some((len, is_data, payload)) = parse_header(&header[..kept + fresh]) {
            (self.partial_len, self.payload_left, self.is_data) = (0, payload, is_data);
            Some(len - kept)
        } else {
            (self.partial, self.partial_len) = (header, kept + fresh);
            None
        }
    }
}

/// Returns the payload of the first frame in `bytes` and the frame's length; `None` if it is incomplete.
pub(crate) fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (header, _, payload) = parse_header(bytes)?;
    let end = header + usize::try_from(payload).ok()?;
    Some((bytes.get(header..end)?, end))
}

/// Returns the header's length, whether the frame carries data, and the length of its payload.
fn parse_header(bytes: &[u8]) -> Option<(usize, bool, u64)> {
    let is_data = bytes.first()? & 0x08 == 0;
    let (len, payload) = match bytes.get(1)? & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    Some((len, is_data, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_ws::{Opcode, encode};

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for len in [0, 1, 125, 126, 128, 65_535, 65_536] {
            bytes.extend(encode::frame(Opcode::Text, &vec![0xFF; len], false));
            bytes.extend(encode::frame(Opcode::Ping, b"still there?", false));
        }
        bytes.extend(encode::frame(Opcode::Binary, b"", false));
        bytes
    }

    #[test]
    fn data_frames_are_counted_wherever_the_stream_is_cut() {
        let stream = stream();
        for piece in [1, 2, 3, 7, 131, 132, 133, 4096, stream.len()] {
            let mut counter = FrameCounter::default();
            let frames: u64 = stream.chunks(piece).map(|bytes| counter.take(bytes)).sum();
            assert_eq!(frames, 8, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_is_counted_when_its_last_byte_arrives() {
        let frame = encode::frame(Opcode::Text, &[b'x'; 128], false);
        let mut counter = FrameCounter::default();
        assert_eq!(counter.take(&frame[..131]), 0);
        assert_eq!(counter.take(&frame[131..]), 1);
        assert_eq!(counter.take(&[]), 0);
    }
}
