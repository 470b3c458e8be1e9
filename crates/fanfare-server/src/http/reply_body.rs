//! The body of a response: whole, a stream, or written by the connection that takes over the socket.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fanfare_engine::{ConnectionGuard, Transport};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;

/// A response's body.
pub(super) enum ReplyBody {
    /// A complete body.
    Whole(Full<Bytes>),
    /// A stream that ends when the sender is dropped. The sender waits for a slow client.
    Stream(mpsc::Receiver<Bytes>),
    /// A body of the connection that takes over the socket after the head. The body of an upgrade is empty; a stream's is endless.
    HandedOver { to: Option<HandOver>, is_endless: bool },
}

impl ReplyBody {
    /// Returns the body of an upgrade.
    pub(super) fn upgraded(to: HandOver) -> Self {
        let (to, is_endless) = (Some(to), false);
        Self::HandedOver { to, is_endless }
    }

    /// Returns the body of a stream that the connection writes.
    pub(super) fn endless(to: HandOver) -> Self {
        let (to, is_endless) = (Some(to), true);
        Self::HandedOver { to, is_endless }
    }

    /// Takes the function to call when the head is sent.
    pub(super) fn take_hand_over(&mut self) -> Option<HandOver> {
        match self {
            Self::HandedOver { to, .. } => to.take(),
            Self::Whole(_) | Self::Stream(_) => None,
        }
    }
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl From<Bytes> for ReplyBody {
    fn from(whole: Bytes) -> Self {
        Self::Whole(Full::new(whole))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream(parts) => {
                let part = ready!(parts.poll_recv(cx));
                Poll::Ready(part.map(|part| Ok(Frame::data(part))))
            }
            Self::HandedOver { is_endless: true, .. } => Poll::Pending,
            Self::HandedOver { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
            Self::HandedOver { is_endless, .. } => !is_endless,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) | Self::HandedOver { is_endless: true, .. } => SizeHint::default(),
            Self::HandedOver { .. } => SizeHint::with_exact(0),
        }
    }
}

/// A function that takes over the socket, and the bytes that the client has sent after its request.
pub(super) type HandOver = Box<dyn FnOnce(Box<dyn ByteStream>, Bytes)>;

/// Lets the connection of `guard` take over the socket. Hyper's memory for the request is freed before the connection's own
/// long-lived, small task begins.
pub(super) fn hand_over_to(guard: ConnectionGuard) -> HandOver {
    Box::new(|socket, sent| guard.serve(socket.into_transport(), &sent))
}

/// A socket below HTTP.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Returns the socket in the engine's form.
    fn into_transport(self: Box<Self>) -> Transport;
}

impl ByteStream for TcpStream {
    fn into_transport(self: Box<Self>) -> Transport {
        Transport::Plain(*self)
    }
}

impl ByteStream for TlsStream<TcpStream> {
    fn into_transport(self: Box<Self>) -> Transport {
        let (socket, tls) = self.into_inner();
        Transport::Tls(Box::new((socket, tls)))
    }
}
