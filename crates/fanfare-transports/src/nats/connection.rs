//! Opens a connection to a NATS server, logs in, and splits it into a reader and a writer.

use std::io;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

use super::{
    address::{Address, ServerAddress},
    login::connect_line,
    protocol::{self, ServerOp},
};
use crate::texts;

/// The buffer for one read, in bytes.
const READ_BYTES: usize = 64 * 1024;

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// A connection that is logged in.
pub(super) struct OpenConnection {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// The largest message that the server carries.
    pub(super) max_payload: usize,
}

/// Reads what the server sends.
pub(super) struct Reader {
    socket: ReadHalf<Box<dyn Socket>>,
    buffer: BytesMut,
}

/// Writes to the server.
pub(super) struct Writer(WriteHalf<Box<dyn Socket>>);

/// Connects to the first server that accepts this node.
///
/// # Errors
/// If none does: the last server's reason, without secrets.
pub(super) async fn open(address: &Address) -> Result<OpenConnection, String> {
    // Held meanwhile, so that the next connection begins with the server of this one.
    let mut first = address.first.lock().await;
    let mut last_error = String::new();
    for (number, server) in address.servers_from(*first) {
        // If the caller gives up at a server that does not answer, the next attempt begins with the next server.
        *first = number + 1;
        match connect(address, server).await {
            Ok(open) => {
                *first = number;
                return Ok(open);
            }
            Err(error) => last_error = address.with_place(server, &error),
        }
    }
    Err(last_error)
}

async fn connect(address: &Address, server: &ServerAddress) -> Result<OpenConnection, String> {
    let login = address.login(server)?;
    let stream = TcpStream::connect((&*server.host, server.port)).await;
    let stream = stream.map_err(|error| describe(&error))?;
    stream.set_nodelay(true).map_err(|error| describe(&error))?;
    let (mut reader, writer) = split(Box::new(stream));
    let Some(ServerOp::Info(info)) = reader.next().await? else {
        return Err(protocol::NotNats.to_string());
    };
    let is_encrypted = server.needs_tls || info.tls_required;
    let (mut reader, mut writer) = if is_encrypted {
        let stream = reader.socket.unsplit(writer.0);
        let config = address.tls()?;
        let name =
            ServerName::try_from(server.host.clone()).map_err(|_| "the host is no name for a certificate")?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        split(Box::new(stream.map_err(|error| describe(&error))?))
    } else {
        (reader, writer)
    };
    let mut line = connect_line(&login, &info, is_encrypted)?;
    line.extend_from_slice(protocol::PING);
    writer.write(&line).await.map_err(|error| describe(&error))?;
    loop {
        match reader.next().await? {
            Some(ServerOp::Pong) => break,
            Some(ServerOp::Error(error)) => return Err(refused(&error)),
            // A second INFO follows the login.
            Some(_) => {}
            None => return Err("connection lost".to_owned()),
        }
    }
    Ok(OpenConnection {
        reader,
        writer,
        max_payload: match info.max_payload {
            0 => usize::MAX,
            limit => limit,
        },
    })
}

fn split(socket: Box<dyn Socket>) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(socket);
    let reader = Reader {
        socket: read,
        buffer: BytesMut::new(),
    };
    (reader, Writer(write))
}

impl Reader {
    /// Returns the server's next operation; `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the connection fails, or the server violates the protocol.
    pub(super) async fn next(&mut self) -> Result<Option<ServerOp>, String> {
        loop {
            if let Some(op) = protocol::next(&mut self.buffer).map_err(|error| error.to_string())? {
                return Ok(Some(op));
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.socket.read_buf(&mut self.buffer).await;
            if read.map_err(|error| describe(&error))? == 0 {
                return Ok(None);
            }
        }
    }
}

impl Writer {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Writes the operations in `outgoing` until their senders are dropped or the connection fails. The reader reports the failure. The writer
    /// has its own task, so a caller that is dropped leaves no incomplete operation.
    pub(super) async fn run(mut self, mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>) {
        while let Some(bytes) = outgoing.recv().await {
            if self.write(&bytes).await.is_err() {
                let _ = self.0.shutdown().await;
                return;
            }
        }
    }
}

/// Describes a refusal of the server in one line.
pub(super) fn refused(error: &str) -> String {
    format!("NATS answered {}", texts::one_line(error))
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "connection lost".to_owned()
        }
        _ => error.to_string(),
    }
}
