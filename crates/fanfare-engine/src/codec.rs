//! The large buffers of a shard, which its connections share.

use fanfare_ws::{Deflater, Inflater};

/// The most bytes that one call reads from a socket.
const READ_BUFFER: usize = 64 * 1024;

pub(super) struct Tools {
    pub(super) read_buffer: Box<[u8]>,
    pub(super) codec: Codec,
}

#[derive(Default)]
pub(super) struct Codec {
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
}

impl Tools {
    pub(super) fn new() -> Self {
        Self {
            read_buffer: vec![0; READ_BUFFER].into(),
            codec: Codec::default(),
        }
    }
}
