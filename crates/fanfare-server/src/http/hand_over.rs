//! A socket that is taken out of HTTP: the head of the last response is sent, and a connection of the engine goes on from there.

use bytes::Bytes;
use fanfare_engine::{Seat, Transport};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// What goes on with the socket, and with what the client has sent behind its request.
pub(super) type HandOver = Box<dyn FnOnce(Box<dyn ByteStream>, Bytes)>;

/// Returns what has the connection of `seat` go on with the socket. Hyper's memory for the request is freed before the connection's own
/// long-lived, small task begins.
pub(super) fn to(seat: Seat) -> HandOver {
    Box::new(|socket, sent| seat.serve(socket.into_transport(), &sent))
}

/// A socket below HTTP.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Returns it as the engine takes it.
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
