//! A connection with its socket: writes the connection's frames until the socket takes no more.

use std::{
    borrow::Borrow,
    io::{self, ErrorKind, IoSlice},
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use fanfare_core::Ending;
use smallvec::SmallVec;

use super::{
    Transport,
    acknowledged::{SocketState, SocketStates},
    clock::Moment,
    connection::Connection,
    counters::Tally,
    work::RecentWork,
};

/// The most frames that are written in one call.
pub(super) const RUN: usize = 64;
/// The close code after a panic in which the dialect provided no close (RFC 6455, section 7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// A connection as its shard holds it.
pub(super) struct Driver {
    /// Distinguishes its key from the keys of earlier connections in its slot.
    pub(super) generation: u32,
    pub(super) connection: Connection,
    pub(super) recent_work: RecentWork,
    transport: Transport,
    /// Bytes that were read and not processed yet.
    unread: Option<Box<BytesMut>>,
    waker: Option<Waker>,
}

/// The result of a poll of the socket, or of a turn.
pub(super) enum Progress {
    /// There may be more to do.
    Again,
    /// There is more to do, but other connections come first.
    Spent,
    /// There is nothing to do until the task is woken.
    Wait,
    /// The connection has ended.
    Over,
}

impl Driver {
    /// Returns the driver of a connection whose upgrade is not answered yet.
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            generation: 0,
            connection,
            recent_work: RecentWork::default(),
            transport: Transport::Upgrading,
            unread: None,
            waker: None,
        }
    }

    /// Sets the connection's socket. `leftover` are the client's bytes behind its request.
    pub(super) fn attach(&mut self, transport: Transport, leftover: &[u8]) {
        self.transport = transport;
        if self.connection.framing().is_body() {
            let patience = self.connection.mounted().settings().ping_timeout;
            self.transport.end_unacknowledged(patience);
        }
        if !leftover.is_empty() {
            self.unread = Some(Box::new(leftover.into()));
        }
    }

    pub(super) fn is_upgrading(&self) -> bool {
        matches!(self.transport, Transport::Upgrading)
    }

    /// Writes `frames` in one call, and queues the rest that the socket does not take.
    pub(super) fn send_run<'a, F: Borrow<Bytes>>(&mut self, frames: &'a [F], moment: Moment) -> Tally {
        let mut written = 0;
        if self.connection.is_open() && self.connection.is_outbox_empty() && !self.transport.wants_flush() {
            let slice = |frame: &'a F| IoSlice::new(frame.borrow());
            let result = if let [one] = frames {
                self.transport.try_write_vectored(&[slice(one)])
            } else {
                let slices: SmallVec<[_; RUN]> = frames.iter().map(slice).collect();
                self.transport.try_write_vectored(&slices)
            };
            match result {
                Ok(bytes) => written = bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.socket_failed(&error),
            }
        }
        if written == frames.iter().map(|frame| frame.borrow().len()).sum::<usize>() {
            if self.transport.wants_flush() {
                self.wake();
            }
            return Tally {
                queued: frames.len() as u64,
                dropped: 0,
            };
        }
        self.queue_from(written, frames, moment)
    }

    /// Queues the rest of `frames` after the first `written` bytes.
    fn queue_from<F: Borrow<Bytes>>(&mut self, mut written: usize, frames: &[F], moment: Moment) -> Tally {
        let mut tally = Tally::default();
        for frame in frames.iter().map(Borrow::borrow) {
            if written >= frame.len() {
                written -= frame.len();
                tally += Tally::QUEUED;
            } else if written > 0 {
                tally += self.connection.queue_rest(frame.slice(written..));
                written = 0;
            } else {
                tally += self.queue(frame.clone(), moment);
            }
        }
        if !self.connection.is_outbox_empty() || self.transport.wants_flush() {
            self.wake();
        }
        tally
    }

    /// Queues an event's frame. The caller flushes.
    pub(super) fn queue(&mut self, frame: Bytes, moment: Moment) -> Tally {
        let was_open = self.connection.is_open();
        if was_open && !self.connection.has_room(frame.len()) {
            self.flush_or_wake(); // a burst may fill the queue of a client that reads well
        }
        let tally = self.connection.queue(frame, moment);
        if was_open && !self.connection.is_open() {
            self.wake();
        }
        tally
    }

    /// Queues an answer. The caller flushes.
    pub(super) fn queue_answer(&mut self, frame: Bytes, moment: Moment) {
        if self.connection.is_open() && !self.connection.has_room_for_answer(frame.len()) {
            self.flush_or_wake();
        }
        self.connection.queue_answer(frame, moment);
    }

    /// Writes queued frames until the socket takes no more, and leaves the rest to the connection's task.
    pub(super) fn flush_or_wake(&mut self) {
        match self.flush() {
            Ok(true) => {}
            Ok(false) => self.wake(),
            Err(error) => self.socket_failed(&error),
        }
    }

    /// Writes queued frames until the socket takes no more; returns `true` if none are left.
    fn flush(&mut self) -> io::Result<bool> {
        if self.transport.wants_flush() {
            match self.transport.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                done => done?,
            }
        }
        let transport = &mut self.transport;
        let is_empty = self
            .connection
            .flush(|slices| transport.try_write_vectored(slices))?;
        Ok(is_empty && !self.transport.wants_flush())
    }

    /// Returns whether the socket has not taken all of `frame`, which was queued.
    pub(super) fn holds(&self, frame: &Bytes) -> bool {
        self.connection.holds(frame) || self.transport.wants_flush()
    }

    /// Returns the numbers of bytes that the peer has and has not acknowledged, if the system reports them.
    pub(super) fn acknowledgements(&self, system: &SocketStates) -> Option<SocketState> {
        system.of(self.transport.socket()?)
    }

    /// Returns whether the queue is long, even after an attempt to write it, so that the client must read first.
    pub(super) fn is_congested(&mut self) -> bool {
        if self.connection.is_congested() {
            self.flush_or_wake();
        }
        self.connection.is_congested()
    }

    /// Writes queued frames if the socket is writable; otherwise registers the task for that. Returns `None` if reading may follow.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, moment: Moment) -> Option<Progress> {
        if self.connection.is_outbox_empty() && !self.transport.wants_flush() {
            return None;
        }
        match self.transport.poll_write_ready(cx) {
            Poll::Ready(_) => {
                if self.connection.framing().is_body() {
                    self.connection.liveness.read(moment.ms); // there is room, so the client has read
                }
                match self.flush() {
                    Ok(true) => {}
                    Ok(false) => return Some(Progress::Again), // the next poll registers for write readiness
                    Err(error) => self.socket_failed(&error),
                }
            }
            Poll::Pending if self.connection.is_open() && self.connection.is_congested() => {
                return Some(Progress::Wait); // the client must read first
            }
            Poll::Pending => {}
        }
        None
    }

    /// Shuts the stream down after the last frame.
    pub(super) fn end_stream(&mut self) {
        if self.transport.wants_flush() || !self.connection.take_end_of_stream() {
            return;
        }
        if self.connection.has_client_closed() && self.transport.ends_when_dropped() {
            self.connection.mark_gone(); // saves the shutdown, and the wait for the end of the client's stream
        } else {
            self.transport.finish_writing();
        }
    }

    /// Returns whether there are bytes to process; otherwise registers the task for that.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        // The open command must be answered first; its answer wakes the task.
        if self.connection.is_open() && self.connection.is_waiting() {
            return false;
        }
        self.unread.is_some()
            || self.transport.poll_read_ready(cx).is_ready()
            || self.transport.has_read_ahead()
    }

    /// Takes the bytes that were read and not processed yet.
    pub(super) fn take_unread(&mut self) -> Option<Box<BytesMut>> {
        self.unread.take()
    }

    /// Keeps the last `rest` bytes of `bytes` for a later turn.
    pub(super) fn keep_unread(&mut self, mut bytes: Box<BytesMut>, rest: usize) {
        if rest > 0 {
            bytes.advance(bytes.len() - rest);
            self.unread = Some(bytes);
        }
    }

    /// Reads once. Returns `None` if there are no bytes, or at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8], moment: Moment) -> Option<usize> {
        match self.transport.try_read(buffer) {
            Ok(0) => self.connection.mark_gone(),
            Ok(bytes) => {
                self.connection.liveness.read(moment.ms);
                return Some(bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.socket_failed(&error),
        }
        None
    }

    /// Ends the connection for `ending`.
    pub(super) fn end(&mut self, ending: Ending, moment: Moment) {
        self.connection.end(ending, moment);
        self.wake();
    }

    /// Ends the connection after a panic in its turn. No other connection is affected.
    pub(super) fn end_after_panic(&mut self, moment: Moment) {
        tracing::error!(
            connection = self.connection.number,
            "a panic while serving a connection; it is closed"
        );
        self.unread = None;
        // The dialect may panic again in its last message, which would end the connection's task.
        let connection = &mut self.connection;
        if catch_unwind(AssertUnwindSafe(|| connection.end(Ending::InternalError, moment))).is_err() {
            self.connection.close(INTERNAL_ERROR, "", moment.ms);
        }
        self.wake();
    }

    fn socket_failed(&mut self, error: &io::Error) {
        self.connection.socket_failed(error);
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Sets the waker of the connection's task.
    pub(super) fn register(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|own| !own.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}
