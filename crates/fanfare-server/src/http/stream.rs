//! The stream below an HTTP connection: it records the connection's phase, and closes so that the client can read the last response.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fanfare_core::locked;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// The longest time that a closed connection is read, so that a client that still sends can read its response.
const LINGER: Duration = Duration::from_secs(30);
/// The time without data after which that reading ends.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// The bytes that one read discards, and the reads in one poll.
const DISCARD: usize = 16 * 1024;
const DISCARDS_PER_POLL: usize = 64;

/// The time limits of the phases of an HTTP connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// The time by which the head of the first request must have arrived.
    pub(super) first_head_by: Instant,
    /// The limit of each further request's head, from its first byte.
    pub(super) request: Duration,
    /// The limit of a client that neither sends a request nor reads its response.
    pub(super) keep_alive: Duration,
}

/// The phase of an HTTP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first request has not arrived.
    New,
    /// A further request has begun to arrive.
    Request,
    /// A handler runs, which limits its own time.
    Handler,
    /// The response is ready: the client reads it, or is idle.
    Kept,
    /// A connection takes over the socket as soon as the head of the response is sent.
    HandOver,
    /// The head of the response is sent.
    HandedOver,
}

/// The phase of one HTTP connection, and since when. Its stream, its handlers and its task share this; they run on one
/// thread, but hyper requires streams that are `Send`.
#[derive(Debug)]
pub(super) struct Activity {
    limits: TimeLimits,
    phase: Mutex<(Phase, Instant)>,
}

impl Activity {
    pub(super) fn new(limits: TimeLimits) -> Arc<Self> {
        let phase = Mutex::new((Phase::New, Instant::now()));
        Arc::new(Self { limits, phase })
    }

    pub(super) fn phase(&self) -> Phase {
        locked(&self.phase).0
    }

    pub(super) fn enter(&self, phase: Phase) {
        *locked(&self.phase) = (phase, Instant::now());
    }

    /// Returns the time limit of the current phase; `None` while a handler runs.
    pub(super) fn due(&self) -> Option<Instant> {
        let (phase, since) = *locked(&self.phase);
        match phase {
            Phase::New => Some(self.limits.first_head_by),
            Phase::Request => Some(since + self.limits.request),
            Phase::Handler | Phase::HandedOver => None,
            Phase::Kept | Phase::HandOver => Some(since + self.limits.keep_alive),
        }
    }

    fn has_read(&self) {
        self.pass(Phase::Kept, Phase::Request);
    }

    fn has_written(&self) {
        self.pass(Phase::Kept, Phase::Kept);
    }

    /// Enters the phase after the hand-over: hyper flushes when it has nothing more to write.
    fn has_flushed(&self) {
        self.pass(Phase::HandOver, Phase::HandedOver);
    }

    /// Enters `to` if the phase is `from`.
    fn pass(&self, from: Phase, to: Phase) {
        if self.phase() == from {
            self.enter(to);
        }
    }
}

/// A TCP or TLS stream below an HTTP connection.
#[derive(Debug)]
pub(super) struct HttpStream<S> {
    inner: S,
    /// Data that was read already and is returned first.
    ahead: Bytes,
    activity: Arc<Activity>,
    /// The bytes that may still be discarded after the last response.
    discardable: usize,
    /// Set once this side is closed: data that still arrives is discarded until this time, or until the alarm.
    lingering: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> HttpStream<S> {
    /// Returns a stream from which `ahead` was read already. After its close it discards up to `discardable` bytes.
    pub(super) fn new(inner: S, ahead: Vec<u8>, activity: Arc<Activity>, discardable: usize) -> Self {
        Self {
            inner,
            ahead: ahead.into(),
            activity,
            discardable,
            lingering: None,
        }
    }

    /// Returns the stream, and the rest of the data that was read already.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.inner, self.ahead)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HttpStream<S> {
    /// Reads and discards until the peer closes, or the limits of time or bytes are reached. Closing a socket with
    /// unread data resets it, and a client that has not read the response yet would lose it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((until, alarm)) = &mut self.lingering else {
            return Poll::Ready(());
        };
        for _ in 0..DISCARDS_PER_POLL {
            let mut discarded = [0; DISCARD];
            let mut buffer = ReadBuf::new(&mut discarded);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.discardable = self.discardable.saturating_sub(buffer.filled().len());
                    if self.discardable == 0 {
                        return Poll::Ready(());
                    }
                    let silent = Instant::now() + LINGER_SILENCE;
                    alarm.as_mut().reset(silent.min(*until));
                }
                Poll::Ready(_) => return Poll::Ready(()), // the end, or an error
                Poll::Pending => return alarm.as_mut().poll(cx),
            }
            if Instant::now() >= *until {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let most = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(most));
            self.activity.has_read();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HttpStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.activity.has_written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.activity.has_written();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.activity.has_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            let now = Instant::now();
            let alarm = Box::pin(sleep_until(now + LINGER_SILENCE));
            self.lingering = Some((now + LINGER, alarm));
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn limits() -> TimeLimits {
        TimeLimits {
            first_head_by: Instant::now() + Duration::from_secs(1000),
            request: Duration::from_secs(3000),
            keep_alive: Duration::from_secs(7000),
        }
    }

    #[test]
    fn each_phase_has_its_limit() {
        let activity = Activity::new(limits());
        let due = || {
            let left = activity
                .due()
                .map(|due| due.saturating_duration_since(Instant::now()));
            (
                activity.phase(),
                left.map(|left| left.as_secs().next_multiple_of(1000)),
            )
        };
        assert_eq!(due(), (Phase::New, Some(1000)));
        activity.has_read(); // a slow client does not get more time for its first request
        assert_eq!(due(), (Phase::New, Some(1000)));
        activity.enter(Phase::Handler);
        activity.has_read();
        activity.has_written();
        assert_eq!(due(), (Phase::Handler, None));
        activity.enter(Phase::Kept);
        activity.has_written();
        assert_eq!(due(), (Phase::Kept, Some(7000)));
        activity.has_read();
        assert_eq!(due(), (Phase::Request, Some(3000)));
        let began = activity.due();
        activity.has_read();
        activity.has_written();
        assert_eq!(activity.due(), began);
    }

    #[tokio::test]
    async fn data_that_was_read_already_is_returned_first() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = HttpStream::new(ours, b"GET /".into(), Activity::new(limits()), 0);
        let mut four = [0; 4];
        assert!(stream.read_exact(&mut four).await.is_ok());
        assert!(theirs.write_all(b"rest").await.is_ok());
        let mut five = [0; 5];
        assert!(stream.read_exact(&mut five).await.is_ok());
        assert_eq!((&four, &five), (b"GET ", b"/rest"));
        assert!(stream.into_parts().1.is_empty());
    }

    #[tokio::test]
    async fn a_close_waits_until_the_peer_closes() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = HttpStream::new(ours, Vec::new(), Activity::new(limits()), 1 << 20);
        let closing = tokio::spawn(async move { stream.shutdown().await });
        assert!(theirs.write_all(&vec![7; 100_000]).await.is_ok());
        let mut read = Vec::new();
        let ended = theirs.read_to_end(&mut read).await;
        assert_eq!(ended.ok(), Some(0), "the peer sees the end of our side");
        assert!(!closing.is_finished());
        drop(theirs);
        assert!(closing.await.is_ok_and(|closed| closed.is_ok()));
    }

    #[tokio::test]
    async fn a_close_discards_data_up_to_its_limit() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = HttpStream::new(ours, Vec::new(), Activity::new(limits()), 50_000);
        let closing = tokio::spawn(async move { stream.shutdown().await });
        assert!(theirs.write_all(&vec![7; 100_000]).await.is_err());
        assert!(closing.await.is_ok_and(|closed| closed.is_ok()));
    }
}
