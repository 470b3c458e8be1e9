//! Runs one connection of the door: reads, runs the commands in its session, publishes, and replies.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    time::SystemTime,
};

use fanfare_cluster::wire;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    commands,
    door::RedisDoor,
    reader::RequestReader,
    request::ProtocolError,
    session::{Closing, Session},
    wire::Wire,
};
use crate::parsing;

/// The bytes of replies, and the number of publications, at which both are sent before the next command.
const FULL_REPLIES: usize = 256 * 1024;
const FULL_BATCH: usize = 4096;

/// Serves one connection until it ends, violates the protocol, or `shutdown` resolves; complete commands that arrived before
/// are run. The caller sets `TCP_NODELAY` and limits the number of connections.
pub async fn serve<S>(stream: S, peer: SocketAddr, door: &RedisDoor, shutdown: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _counted = door.stats.connection();
    let mut connection = DoorConnection {
        door,
        session: Session::new(door, peer),
        reader: RequestReader::default(),
        wire: Wire::new(stream, door.options.command_timeout),
        half_sent: None,
    };
    // The peer decides how a connection ends; no receiver is left for an error.
    if let Err(error) = connection.run(pin!(shutdown)).await {
        tracing::debug!(%peer, %error, "publisher's connection ended");
    }
}

struct DoorConnection<'a, S> {
    door: &'a RedisDoor,
    session: Session<'a>,
    reader: RequestReader,
    wire: Wire<S>,
    /// The time by which an incomplete command must be complete.
    half_sent: Option<Instant>,
}

enum WakeReason {
    Read(io::Result<usize>),
    Late,
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> DoorConnection<'_, S> {
    async fn run(&mut self, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> io::Result<()> {
        loop {
            match self.wait(shutdown.as_mut()).await {
                WakeReason::Read(Ok(0)) | WakeReason::Late | WakeReason::Shutdown => {
                    return self.wire.close().await;
                }
                WakeReason::Read(result) => result?,
            };
            let closing = self.process().await?;
            // A publisher that sends as fast as it can must not slow down the others.
            tokio::task::yield_now().await;
            match closing {
                None => {}
                Some(Closing::AtOnce) => return Ok(()),
                Some(Closing::AfterReplies) => return self.wire.linger().await,
            }
        }
    }

    /// Waits for the next bytes, a deadline or the shutdown.
    async fn wait(&mut self, shutdown: Pin<&mut impl Future<Output = ()>>) -> WakeReason {
        let deadlines = [self.half_sent, self.session.login_deadline];
        let late = async {
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Requests kept for a transaction are slices of the read buffer. If it were released between them, each would keep
        // a whole buffer alive.
        let keep_buffer = self.session.transaction.is_some();
        tokio::select! {
            biased;
            () = shutdown => WakeReason::Shutdown,
            read = self.wire.fill(keep_buffer) => WakeReason::Read(read),
            () = late => WakeReason::Late,
        }
    }

    /// Runs every command that has arrived completely, and replies.
    async fn process(&mut self) -> io::Result<Option<Closing>> {
        self.session.batch.now = SystemTime::now();
        let mut any = false;
        self.session.check_login();
        while self.session.closing.is_none() {
            let limits = self.door.limits(self.session.logged_in());
            match self.reader.next(&mut self.wire.buffer, limits) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    any = true;
                    let permitted = commands::permitted(&self.session, &request);
                    self.session.handle(request, permitted);
                    self.parse_large().await?;
                    self.transaction().await?;
                }
                Err(error) => self.refuse(error),
            }
            self.flush_if_full().await?;
        }
        if self.wire.buffer.is_empty() {
            self.half_sent = None;
        } else if any || self.half_sent.is_none() {
            self.half_sent = Some(Instant::now() + self.door.options.command_timeout);
        }
        self.flush().await?;
        Ok(self.session.closing)
    }

    /// Runs the commands of the transaction that `EXEC` committed, if that was the command.
    async fn transaction(&mut self) -> io::Result<()> {
        for (spec, request) in std::mem::take(&mut self.session.executing) {
            self.session.run(spec, &request);
            self.parse_large().await?;
            self.flush_if_full().await?;
        }
        Ok(())
    }

    /// Parses the last `PUBLISH`, if it is a large one, before the next command. Earlier commands are answered first.
    async fn parse_large(&mut self) -> io::Result<()> {
        let Some(publication) = self.session.large.take() else {
            return Ok(());
        };
        self.flush().await?;
        let (message, now) = (publication.slice(2), self.session.batch.now);
        let parsing = parsing::parse(&message, move |message| {
            let mut events = Vec::new();
            wire::parse_message(publication.arg(1), message, now, &mut events).map(|()| events)
        });
        let parsed = parsing.await;
        self.session.check_login(); // keys may have changed meanwhile
        self.session
            .add(|events| parsed.map(|parsed| events.extend(parsed)));
        Ok(())
    }

    fn refuse(&mut self, error: ProtocolError) {
        let session = &mut self.session;
        if error == ProtocolError::Tls {
            // Its client could not read a reply.
            session.warn_unwelcome("TLS on the Redis-protocol door, which has none: connection dropped");
            session.closing = Some(Closing::AtOnce);
        } else {
            session.writer.error(&format!("ERR Protocol error: {error}"));
            session.closing = Some(Closing::AfterReplies);
        }
    }

    async fn flush_if_full(&mut self) -> io::Result<()> {
        let full = self.session.writer.out.len() >= FULL_REPLIES || self.session.batch.len() >= FULL_BATCH;
        if full {
            self.flush().await?;
            self.session.check_login(); // keys may have changed meanwhile
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Session { batch, writer, .. } = &mut self.session;
        batch.publish(&*self.door.options.host, writer).await;
        self.session.count();
        let writer = &mut self.session.writer;
        if !writer.out.is_empty() {
            self.wire.write(&writer.out).await?;
            writer.out.clear();
        }
        self.session.shrink();
        Ok(())
    }
}
