//! Reads the head of a connection's first request, before anything is set up to serve it.
//!
//! Until then a client costs little more memory than the bytes that it has sent. Hyper needs sixteen kilobytes for a connection, and several
//! more for its task, so it starts when there is a whole head to parse.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Poll, ready},
};

use memchr::memchr_iter;
use tokio::io::{AsyncRead, ReadBuf};

const CHUNK: usize = 4096;

/// Reads from `stream` until a request's head has ended, more than `max` bytes have arrived, or the stream has ended. Returns all bytes that
/// were read, for hyper to parse.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S, max: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    poll_fn(|cx| {
        loop {
            // On the stack, so that it needs no memory while the connection waits.
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut chunk))?;
            let searched = head.len().saturating_sub(3);
            head.extend_from_slice(chunk.filled());
            let is_over = chunk.filled().is_empty() || head.len() > max;
            if is_over || has_end(&head[searched..]) {
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await
    .map(|()| head)
}

/// Returns whether `bytes` has an empty line; a line may end without a carriage return.
fn has_end(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).any(|at| {
        let next = &bytes[at + 1..];
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_head_is_read_to_its_end_in_pieces_of_any_size() {
        let lines = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let bare = b"GET / HTTP/1.1\nHost: a\n\n";
        for (sent, size) in [
            (&lines[..], 1),
            (&lines[..], 7),
            (&lines[..], 1000),
            (&bare[..], 1),
        ] {
            let (mut ours, mut theirs) = duplex(64);
            let sending = async {
                for piece in sent.chunks(size) {
                    theirs.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                theirs
            };
            let (head, _theirs) = tokio::join!(read(&mut ours, 1000), sending);
            assert_eq!(head.unwrap(), sent, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn reading_ends_at_the_limit_and_at_the_end_of_the_stream() {
        let (mut ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(&[b'a'; 5000]).await.unwrap();
        assert_eq!(read(&mut ours, 4999).await.unwrap().len(), 5000);
        theirs.write_all(b"GET /").await.unwrap();
        drop(theirs);
        assert_eq!(read(&mut ours, 1000).await.unwrap(), b"GET /");
        assert_eq!(read(&mut ours, 1000).await.unwrap(), b"");
    }

    #[test]
    fn a_connection_that_waits_for_a_head_is_small() {
        let (mut ours, _theirs) = duplex(1);
        let waiting = size_of_val(&read(&mut ours, 1));
        assert!(waiting <= 96, "{waiting}");
    }
}
