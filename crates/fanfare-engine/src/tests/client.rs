//! The client's end of a connection: it writes and reads frames one by one.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use fanfare_ws::{Opcode, encode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::pipe::{Control, pipe};
use crate::Transport;

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A client that reads frames one by one.
pub(super) struct Client(Box<dyn Stream>);

/// Returns two ends of a connection over real sockets: the client's and the server's.
pub(super) async fn sockets() -> (Client, Transport) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().await.unwrap().0;
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap(); // as the listener does, or small answers would wait for acknowledgements
    }
    (Client(Box::new(client)), Transport::Plain(server))
}

/// Returns two ends of a connection in memory, and the control of its stream.
pub(super) fn in_memory() -> (Client, Transport, Control) {
    let (client, server, control) = pipe();
    (Client(Box::new(client)), Transport::Pipe(server), control)
}

impl Client {
    pub(super) async fn say(&mut self, text: &str) {
        self.0
            .write_all(&encode::masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]))
            .await
            .unwrap();
    }

    /// Sends several texts in one write.
    pub(super) async fn say_all(&mut self, texts: &[&str]) {
        let frame = |text: &&str| encode::masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
        let frames: Vec<_> = texts.iter().map(frame).collect();
        self.0.write_all(&frames.concat()).await.unwrap();
    }

    /// Writes bytes unchanged.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Writes bytes before any other task runs.
    pub(super) fn write_at_once(&mut self, bytes: &[u8]) {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_write(&mut context, bytes) {
            Poll::Ready(Ok(written)) => assert_eq!(written, bytes.len()),
            _ => panic!("there is no room"),
        }
    }

    /// Sends a text, and returns the next one.
    pub(super) async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.text().await
    }

    /// Checks that the next texts are `expected`.
    pub(super) async fn receives(&mut self, expected: &[&str]) {
        for text in expected {
            assert_eq!(self.text().await, *text);
        }
    }

    /// Checks that no bytes wait for the client. Only for a client that waits for no answer.
    pub(super) async fn receives_no_more(&mut self) {
        assert_eq!(self.ask("no more").await, "no more");
    }

    /// Reads the next frame's opcode and payload; `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await.ok()?;
        let length = match head[1] {
            126 => usize::from(self.0.read_u16().await.ok()?),
            127 => usize::try_from(self.0.read_u64().await.ok()?).ok()?,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[0] & 0x0f, payload))
    }

    /// Reads the next text message.
    pub(super) async fn text(&mut self) -> String {
        let (opcode, payload) = self.frame().await.expect("a frame");
        assert_eq!(
            opcode,
            1,
            "a text frame, not {}",
            String::from_utf8_lossy(&payload)
        );
        String::from_utf8(payload).unwrap()
    }

    /// Reads up to the close frame, and returns its code and reason.
    pub(super) async fn close(&mut self) -> (u16, String) {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == 8 {
                return (
                    u16::from_be_bytes([payload[0], payload[1]]),
                    String::from_utf8(payload[2..].to_vec()).unwrap(),
                );
            }
        }
        panic!("the stream ended without a close frame")
    }
}
