//! The stream of one connection and its read buffer.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// The least and the most that one read takes, in bytes. Events keep the buffer that they were read into, so it is only
/// large for a peer that fills it.
const LEAST_READ: usize = 4 * 1024;
const MOST_READ: usize = 512 * 1024;
/// The time and the bytes that a peer may still send after its last reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// A stream, and the bytes read from it that are not parsed yet.
pub(super) struct Wire<S> {
    pub(super) buffer: BytesMut,
    stream: S,
    read: usize,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, write_timeout: Duration) -> Self {
        Self {
            buffer: BytesMut::new(),
            stream,
            read: LEAST_READ,
            write_timeout,
        }
    }

    /// Reads some bytes to the end of the buffer, and returns their number; 0 at the end of the stream. May be dropped and
    /// called again. Before it waits, it releases an empty buffer unless `keep_buffer` is set.
    pub(super) async fn fill(&mut self, keep_buffer: bool) -> io::Result<usize> {
        let Self {
            buffer, stream, read, ..
        } = self;
        let (taken, room) = poll_fn(|cx| {
            // Room for half of it is enough: a buffer that is still in use elsewhere would have to be copied.
            if buffer.capacity() - buffer.len() < *read / 2 {
                buffer.reserve(*read);
            }
            let room = (buffer.capacity() - buffer.len()).min(*read);
            let mut limited = (&mut *buffer).limit(room);
            let polled = pin!(stream.read_buf(&mut limited)).poll(cx);
            if polled.is_pending() && buffer.is_empty() && !keep_buffer {
                *buffer = BytesMut::new();
            }
            polled.map_ok(|taken| (taken, room))
        })
        .await?;
        if taken == room {
            *read = (*read * 4).min(MOST_READ);
        } else if taken < *read / 4 {
            *read = (*read / 4).max(LEAST_READ);
        }
        Ok(taken)
    }

    /// Writes all of `bytes`, or fails if the peer does not take them in time.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(self.write_timeout, written).await?
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        timeout(LINGER, self.stream.shutdown()).await?
    }

    /// Ends the stream, but still reads for a moment: a socket that is closed with unread bytes would discard the last reply.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        self.close().await?;
        let mut left = LINGER_BYTES;
        let drained = async {
            while left > 0 {
                self.buffer.clear();
                match self.fill(false).await? {
                    0 => break,
                    taken => left = left.saturating_sub(taken),
                }
            }
            io::Result::Ok(())
        };
        // The connection ends in any case.
        timeout(LINGER, drained).await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn idle_connections_hold_no_buffer() {
        for keep in [false, true] {
            let (mut peer, stream) = tokio::io::duplex(1 << 20);
            let mut wire = Wire::new(stream, LINGER);
            peer.write_all(b"PING\r\n").await.unwrap();
            assert_eq!(wire.fill(keep).await.unwrap(), 6);
            wire.buffer.clear();
            assert!(timeout(Duration::from_millis(10), wire.fill(keep)).await.is_err());
            assert_eq!(wire.buffer.capacity() > 0, keep);
        }
    }

    #[tokio::test]
    async fn a_partial_read_is_kept() {
        let (mut peer, stream) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(stream, LINGER);
        peer.write_all(b"PI").await.unwrap();
        wire.fill(false).await.unwrap();
        assert!(
            timeout(Duration::from_millis(10), wire.fill(false))
                .await
                .is_err()
        );
        assert_eq!(wire.buffer, "PI");
    }

    #[tokio::test]
    async fn reads_grow_with_the_traffic_and_shrink_again() {
        let (mut peer, stream) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(stream, LINGER);
        peer.write_all(&vec![b'a'; 500_000]).await.unwrap();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sizes.push(wire.fill(false).await.unwrap());
            wire.buffer.clear();
        }
        assert!(sizes[0] <= LEAST_READ && sizes[3] > LEAST_READ, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= MOST_READ), "{sizes:?}");
        wire.read = MOST_READ;
        let (mut peer, stream) = tokio::io::duplex(1 << 20);
        wire.stream = stream;
        for _ in 0..8 {
            peer.write_all(b"a").await.unwrap();
            wire.fill(false).await.unwrap();
        }
        assert_eq!(wire.read, LEAST_READ);
    }
}
