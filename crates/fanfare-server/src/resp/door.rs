//! What all connections of the door share, and the life of one connection.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fanfare_core::{Audience, BoxFuture, Event, LogThrottle, Receipt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    reader::{Limits, ProtocolError, Reader},
    session::{Closing, Session},
    stats::Stats,
    wire::Wire,
};
use crate::auth::Credentials;

/// What a connection over the limit is sent before it is closed.
pub const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// Replies are sent and publications settled before more is carried out once either is worth so much.
const FULL_REPLIES: usize = 256 * 1024;
const FULL_BATCH: usize = 4096;

/// What the door needs of the rest of the server.
pub trait Host: Send + Sync {
    /// Publishes `events`, each by itself, and returns a receipt for each.
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>>;

    /// Counts publications that came in, the malformed ones included.
    fn received(&self, publications: u64);

    /// Counts a publication that was malformed and dropped.
    fn rejected(&self);

    /// The audiences with a listener, in no order.
    fn audiences(&self) -> Vec<Audience>;

    /// How many connections may receive what is published on the Redis channel `channel`.
    fn listeners(&self, channel: &str) -> u64;

    /// How many different patterns connections subscribe to.
    fn patterns(&self) -> u64;

    /// Whether there are, were or may be keys besides [`Secrets::keys`], so that a client without any must stay
    /// outside. It is asked for each command.
    fn needs_key(&self) -> bool;

    /// Whether `secret` is such a key, and is for publishing.
    fn holds_key(&self, secret: &[u8]) -> bool;
}

/// What publishers prove themselves with.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The password, which goes with the user name `default` or none.
    pub password: Credentials,
    /// API keys, which go with any user name.
    pub keys: Credentials,
}

/// How a door is made.
pub struct DoorOptions {
    /// The rest of the server.
    pub host: Arc<dyn Host>,
    /// Who may publish.
    pub secrets: Secrets,
    /// The longest message, in bytes.
    pub max_message: usize,
    /// The port it listens on, which `INFO` tells.
    pub port: u16,
    /// How long a connection may take to log in, where that is needed.
    pub login_timeout: Duration,
    /// How long a command may be on its way, and how long a reply may wait to be taken.
    pub command_timeout: Duration,
}

impl DoorOptions {
    /// Options with every default and no secret: messages up to 8 MiB and a little, 10 s to log in, 60 s for a command.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self {
            host,
            secrets: Secrets::default(),
            // A body of 8 MiB is legal everywhere else, so it is here too, whatever wraps it.
            max_message: (8 << 20) + 64 * 1024,
            port: 6379,
            login_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(60),
        }
    }
}

/// How publishers log in; a reload replaces it.
struct Login {
    secrets: Secrets,
    timeout: Duration,
}

/// What all connections of the door share.
pub struct Door {
    pub(super) options: DoorOptions,
    login: ArcSwap<Login>,
    pub(super) stats: Stats,
    pub(super) since: Instant,
    pub(super) malformed: LogThrottle,
    pub(super) unwelcome: LogThrottle,
    full: LogThrottle,
    limits: Limits,
    ids: AtomicU64,
}

impl Door {
    /// A door without connections.
    pub fn new(options: DoorOptions) -> Self {
        Self {
            limits: Limits::with_max_bulk(options.max_message),
            login: ArcSwap::from_pointee(Login {
                secrets: options.secrets.clone(),
                timeout: options.login_timeout,
            }),
            options,
            stats: Stats::default(),
            since: Instant::now(),
            malformed: LogThrottle::new(Duration::from_secs(1)),
            unwelcome: LogThrottle::new(Duration::from_millis(100)),
            full: LogThrottle::new(Duration::from_secs(5)),
            ids: AtomicU64::new(1),
        }
    }

    /// Lets in by these secrets and within this time from now on. A connection that has logged in stays so.
    pub fn replace_login(&self, secrets: Secrets, timeout: Duration) {
        self.login.store(Arc::new(Login { secrets, timeout }));
    }

    /// How long a connection may take to log in.
    pub(super) fn login_timeout(&self) -> Duration {
        self.login.load().timeout
    }

    /// What it has counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Logs that a connection beyond the `most` allowed is refused, unless such a line is a moment old.
    pub fn warn_full(&self, most: u64) {
        if let Some(held_back) = self.full.pass() {
            tracing::warn!(
                most,
                held_back,
                "too many publishers on the Redis-protocol door; set resp.max_connections"
            );
        }
    }

    /// Whether anybody who can connect may publish. Such a door belongs on the loopback interface only.
    pub fn is_open(&self) -> bool {
        let secrets = &self.login.load().secrets;
        secrets.password.is_open() && secrets.keys.is_open() && !self.options.host.needs_key()
    }

    /// Whether `secret` is the password.
    pub(super) fn holds_password(&self, secret: &[u8]) -> bool {
        self.login.load().secrets.password.hold(secret)
    }

    /// Whether `secret` is an API key that may publish.
    pub(super) fn holds_key(&self, secret: &[u8]) -> bool {
        self.login.load().secrets.keys.hold(secret) || self.options.host.holds_key(secret)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// What a connection may send, logged in or not.
    fn limits(&self, logged_in: bool) -> &Limits {
        if logged_in {
            &self.limits
        } else {
            &Limits::BEFORE_LOGIN
        }
    }
}

/// Serves one connection until it ends, misbehaves, or `shutdown` resolves. Commands that arrived whole before that
/// are carried out and answered.
///
/// The caller sets `TCP_NODELAY` and keeps the number of connections in bounds.
pub async fn serve<S>(stream: S, peer: SocketAddr, door: &Door, shutdown: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _counted = door.stats.connection();
    let mut connection = Connection {
        door,
        session: Session::new(door, peer),
        reader: Reader::default(),
        wire: Wire::new(stream, door.options.command_timeout),
        half_sent: None,
    };
    // How a connection ends is its peer's business; there is nobody left to tell.
    if let Err(error) = connection.run(pin!(shutdown)).await {
        tracing::debug!(%peer, %error, "publisher's connection ended");
    }
}

struct Connection<'a, S> {
    door: &'a Door,
    session: Session<'a>,
    reader: Reader,
    wire: Wire<S>,
    /// When the command of which a part has arrived must be whole.
    half_sent: Option<Instant>,
}

/// What ended the wait for more.
enum Woken {
    Read(io::Result<usize>),
    Late,
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(&mut self, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> io::Result<()> {
        loop {
            match self.wait(shutdown.as_mut()).await {
                Woken::Read(Ok(0)) | Woken::Late | Woken::Shutdown => return self.wire.close().await,
                Woken::Read(result) => result?,
            };
            let closing = self.process().await?;
            // A publisher that sends as fast as it can must not be felt by the others.
            tokio::task::yield_now().await;
            match closing {
                None => {}
                Some(Closing::AtOnce) => return Ok(()),
                Some(Closing::AfterReplies) => return self.wire.linger().await,
            }
        }
    }

    /// Waits for more from the peer, as long as that may take.
    async fn wait(&mut self, shutdown: Pin<&mut impl Future<Output = ()>>) -> Woken {
        let deadline = [self.half_sent, self.session.login_deadline()]
            .into_iter()
            .flatten()
            .min();
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Requests kept for a transaction are slices of the read buffer. Giving a hardly used buffer back between
        // them would leave each holding one of its own.
        let keep_buffer = self.session.in_transaction();
        tokio::select! {
            biased;
            () = shutdown => Woken::Shutdown,
            read = self.wire.fill(keep_buffer) => Woken::Read(read),
            () = late => Woken::Late,
        }
    }

    /// Carries out all that has arrived whole, and answers it.
    async fn process(&mut self) -> io::Result<Option<Closing>> {
        self.session.batch.now = SystemTime::now();
        let mut any = false;
        while self.session.closing.is_none() {
            self.session.judge();
            let limits = self.door.limits(self.session.logged_in());
            match self.reader.next(&mut self.wire.buffer, limits) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    any = true;
                    self.session.take(request);
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

    /// Carries out what `EXEC` has set free, if that was the command.
    async fn transaction(&mut self) -> io::Result<()> {
        for (spec, request) in self.session.take_executing() {
            self.session.run(spec, &request);
            self.flush_if_full().await?;
        }
        Ok(())
    }

    fn refuse(&mut self, error: ProtocolError) {
        self.session.closing = Some(match error {
            // Who speaks TLS would not understand the answer.
            ProtocolError::Tls => Closing::AtOnce,
            _ => Closing::AfterReplies,
        });
        if error == ProtocolError::Tls {
            self.session
                .warn_unwelcome("TLS on the Redis-protocol door, which has none: connection dropped");
        } else {
            self.session.writer.error(&format!("ERR Protocol error: {error}"));
        }
    }

    async fn flush_if_full(&mut self) -> io::Result<()> {
        let full = self.session.writer.out.len() >= FULL_REPLIES || self.session.batch.len() >= FULL_BATCH;
        if full { self.flush().await } else { Ok(()) }
    }

    /// Publishes what waits for it and sends all replies.
    async fn flush(&mut self) -> io::Result<()> {
        let Session { batch, writer, .. } = &mut self.session;
        batch.settle(&*self.door.options.host, writer).await;
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
