//! The body of a response: whole, or in parts that come as they are made.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::hand_over::HandOver;

/// A response's body.
pub(super) enum ReplyBody {
    /// It is complete.
    Whole(Full<Bytes>),
    /// It ends when the sender is dropped. What the client has not taken yet makes the sender wait.
    Stream(mpsc::Receiver<Bytes>),
    /// The socket is taken out of HTTP when the head is sent. An endless body is whatever is written from there on.
    HandedOver {
        /// Nothing once it was taken.
        to: Option<HandOver>,
        is_endless: bool,
    },
}

impl ReplyBody {
    /// Returns the body of a response after whose head the socket is another protocol's.
    pub(super) fn upgraded(to: HandOver) -> Self {
        let (to, is_endless) = (Some(to), false);
        Self::HandedOver { to, is_endless }
    }

    /// Returns a body that is written past HTTP.
    pub(super) fn endless(to: HandOver) -> Self {
        let (to, is_endless) = (Some(to), true);
        Self::HandedOver { to, is_endless }
    }

    /// Returns what goes on with the socket when the head is sent.
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
