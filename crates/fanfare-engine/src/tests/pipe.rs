//! Two ends of a stream in memory, in place of a socket. The test decides its size and when it is ready.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The default number of bytes that each direction holds before its writer must wait.
const CAPACITY: usize = 256 * 1024;

/// One direction of the stream.
#[derive(Debug)]
struct Way {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The most bytes that one read returns.
    chunk: usize,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone)]
struct Ways {
    to_server: Rc<RefCell<Way>>,
    to_client: Rc<RefCell<Way>>,
}

/// The server's end: what [`crate::Transport`] reads and writes.
#[derive(Debug)]
pub(crate) struct ServerEnd(Ways);

/// The client's end.
pub(crate) struct ClientEnd(Ways);

/// A test's control of the stream.
pub(crate) struct Control(Ways);

pub(crate) fn pipe() -> (ClientEnd, ServerEnd, Control) {
    let way = || {
        Rc::new(RefCell::new(Way {
            bytes: VecDeque::new(),
            capacity: CAPACITY,
            chunk: usize::MAX,
            is_closed: false,
            reader: None,
            writer: None,
        }))
    };
    let ways = Ways {
        to_server: way(),
        to_client: way(),
    };
    (ClientEnd(ways.clone()), ServerEnd(ways.clone()), Control(ways))
}

impl Way {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    fn is_readable(&self) -> bool {
        self.is_closed || !self.bytes.is_empty()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_readable() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.bytes.len()).min(self.chunk);
        for (place, byte) in buffer.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        wake(&mut self.writer);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.room());
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.bytes.extend(&bytes[..count]);
        wake(&mut self.reader);
        Ok(count)
    }

    fn close(&mut self) {
        self.is_closed = true;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl ServerEnd {
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.0.to_server.borrow_mut();
        if way.is_readable() {
            return Poll::Ready(Ok(()));
        }
        way.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.0.to_client.borrow_mut();
        if way.is_closed || way.room() > 0 {
            return Poll::Ready(Ok(()));
        }
        way.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.to_server.borrow_mut().read(buffer)
    }

    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut way = self.0.to_client.borrow_mut();
        let mut written = 0;
        for slice in slices {
            match way.write(slice) {
                Ok(count) => written += count,
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(written)
    }

    pub(crate) fn finish_writing(&self) {
        self.0.to_client.borrow_mut().close();
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.to_client.borrow_mut().close();
        self.0.to_server.borrow_mut().close();
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.0.to_server.borrow_mut().close();
        self.0.to_client.borrow_mut().close();
    }
}

impl AsyncRead for ClientEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut way = self.0.to_client.borrow_mut();
        let Ok(count) = way.read(buffer.initialize_unfilled()) else {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = self.0.to_server.borrow_mut();
        match way.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                way.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.to_server.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Control {
    /// Limits the bytes that the stream holds for the client from now on.
    pub(crate) fn hold_for_client(&self, capacity: usize) {
        let mut way = self.0.to_client.borrow_mut();
        way.capacity = capacity;
        if way.room() > 0 {
            wake(&mut way.writer);
        }
    }

    /// Limits the bytes that the server reads at once.
    pub(crate) fn read_in_chunks(&self, chunk: usize) {
        self.0.to_server.borrow_mut().chunk = chunk;
    }

    /// Returns the number of bytes that the client has not read.
    pub(crate) fn unread(&self) -> usize {
        self.0.to_client.borrow().bytes.len()
    }
}
