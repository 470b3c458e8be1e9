//! The state that all connections of the door share, and the port to the rest of the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use fanfare_core::{Audience, BoxFuture, Event, LogThrottle, Receipt};
use tokio::time::Instant;

use super::{reader::RequestLimits, stats::Stats};
use crate::auth::Credentials;

/// The reply to a connection over the limit, before it is closed.
pub const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// The port to the rest of the server.
pub trait Host: Send + Sync {
    /// Publishes `events`, and returns a receipt for each.
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>>;

    /// Counts publications that arrived, malformed ones included.
    fn received(&self, publications: u64);

    /// Counts a publication that was malformed and dropped.
    fn rejected(&self);

    /// Returns the audiences with a listener, in no order.
    fn audiences(&self) -> Vec<Audience>;

    /// Returns the number of connections that may receive events on the Redis channel `channel`.
    fn listeners(&self, channel: &str) -> u64;

    /// Returns the number of different patterns with a subscriber.
    fn patterns(&self) -> u64;

    /// Returns whether keys besides [`Login::keys`] exist, existed or may exist, so that a client without a secret is
    /// refused. The door calls it for each command.
    fn needs_key(&self) -> bool;

    /// Returns whether `secret` is such a key, and may publish.
    fn holds_key(&self, secret: &[u8]) -> bool;
}

/// The secrets of publishers, and the time limit of a login. A reload replaces them.
pub struct Login {
    /// The password, for the user name `default` or none.
    pub password: Credentials,
    /// API keys, for any user name.
    pub keys: Credentials,
    /// The time limit of a login, if one is required.
    pub timeout: Duration,
}

/// The time limit of a command to arrive, and of a reply to be read.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// The options of a door.
pub struct DoorOptions {
    /// The rest of the server.
    pub host: Arc<dyn Host>,
    /// The longest message, in bytes.
    pub max_message: usize,
    /// The port it listens on, for `INFO`.
    pub port: u16,
    /// [`COMMAND_TIMEOUT`], except in tests.
    pub command_timeout: Duration,
}

/// The state that all connections of the door share.
pub struct RedisDoor {
    pub(super) options: DoorOptions,
    pub(super) login: ArcSwap<Login>,
    pub(super) stats: Stats,
    pub(super) since: Instant,
    pub(super) malformed: LogThrottle,
    pub(super) unwelcome: LogThrottle,
    full: LogThrottle,
    limits: RequestLimits,
    ids: AtomicU64,
}

impl RedisDoor {
    /// Returns a door without connections.
    pub fn new(options: DoorOptions, login: Login) -> Self {
        Self {
            limits: RequestLimits::with_max_bulk(options.max_message),
            login: ArcSwap::from_pointee(login),
            options,
            stats: Stats::default(),
            since: Instant::now(),
            malformed: LogThrottle::new(Duration::from_secs(1)),
            unwelcome: LogThrottle::new(Duration::from_millis(100)),
            full: LogThrottle::new(Duration::from_secs(5)),
            ids: AtomicU64::new(1),
        }
    }

    /// Replaces the secrets and the time to log in. A connection that has logged in stays logged in.
    pub fn replace_login(&self, login: Login) {
        self.login.store(Arc::new(login));
    }

    /// Returns the number of open connections.
    pub fn connected(&self) -> u64 {
        self.stats.connected.load(Relaxed)
    }

    /// Logs that a connection beyond the `most` allowed is refused, at most once in five seconds.
    pub fn warn_full(&self, most: u64) {
        if let Some(held_back) = self.full.pass() {
            tracing::warn!(
                most,
                held_back,
                "too many publishers on the Redis-protocol door; set resp.max_connections"
            );
        }
    }

    /// Returns whether every peer that can connect may publish. Such a door belongs on the loopback interface only.
    pub fn is_open(&self) -> bool {
        let login = self.login.load();
        login.password.is_open() && login.keys.is_open() && !self.options.host.needs_key()
    }

    pub(super) fn holds_password(&self, secret: &[u8]) -> bool {
        self.login.load().password.hold(secret)
    }

    /// Returns whether `secret` is an API key that may publish.
    pub(super) fn holds_key(&self, secret: &[u8]) -> bool {
        self.login.load().keys.hold(secret) || self.options.host.holds_key(secret)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Returns the limits of a connection's requests.
    pub(super) fn limits(&self, logged_in: bool) -> &RequestLimits {
        if logged_in {
            &self.limits
        } else {
            &RequestLimits::BEFORE_LOGIN
        }
    }
}
