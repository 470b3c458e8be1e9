//! The transports between Fanfare's nodes: Redis (or Valkey) and NATS.
//!
//! A transport carries bytes on subjects, and stores idempotency keys, presence and history. The meaning of those bytes is
//! decided in [`fanfare_cluster`], once for all transports.
//!
//! This crate must never know an event's meaning, a client protocol, a connection of a client, or the form of the configuration. Each transport
//! knows only its own server.
//!
//! # A tour
//!
//! [`open`] makes a broker of a kind and its [`BrokerOptions`]; [`check`] does the same without connecting. Each transport is a
//! folder and one line in both functions. The folders have the same parts, in the order in which an event meets them:
//!
//! | part | `redis` | `nats` |
//! |---|---|---|
//! | a server's address | `address`, `sentinel`, `cluster`, `servers` | `address`, `login` |
//! | the names of subjects | `names` | `names` |
//! | [`Sender`](fanfare_cluster::transport::Sender): publishes | `publish` | `sender`, `exchange` |
//! | [`IdStore`](fanfare_cluster::transport::IdStore): idempotency keys | `ids` | `ids` |
//! | [`JournalStore`](fanfare_cluster::transport::JournalStore): history | `journal` | `journal` |
//! | [`PresenceStore`](fanfare_cluster::transport::PresenceStore): rooms, slots, leases | `presence`, `scripts` | `presence`, `records` |
//! | [`Subscriber`](fanfare_cluster::transport::Subscriber): receives | `mod`, `sharded` | `receiver`, `order` |
//!
//! All transports obey the same laws: `tests/it` runs them against real servers.
//!
//! # Examples
//!
//! Check the options of a broker before a start:
//!
//! ```
//! use fanfare_transports::{BrokerKind, BrokerOptions, OpenError, check};
//!
//! let at = |url: &str| BrokerOptions { url: url.to_owned(), ..BrokerOptions::default() };
//! assert_eq!(check(BrokerKind::Redis, &at("redis://127.0.0.1:6379")), Ok(None));
//! assert!(matches!(check(BrokerKind::Redis, &at("http://127.0.0.1")), Err(OpenError::BadUrl(_))));
//! ```

mod id_values;
mod journal_reads;
mod kind;
mod nats;
mod redis;
mod texts;
mod tls_files;

use std::{path::PathBuf, sync::Arc};

use fanfare_cluster::{
    ClusterBroker,
    embedded::EmbeddedBroker,
    journal::{DEFAULT_MAX_BYTES, MemoryJournal},
    transport::Transport,
};
pub use fanfare_cluster::{ClusterOptions, MAX_FETCHED, MAX_WATCHED};
use fanfare_core::{Broker, Inbound};
pub use kind::BrokerKind;

/// The default of [`BrokerOptions::max_journals`].
pub const MAX_JOURNALS: usize = 100_000;
/// The longest prefix.
pub const MAX_PREFIX_BYTES: usize = 64;

/// The options of a broker.
#[derive(Clone)]
pub struct BrokerOptions {
    /// The server's URL, such as `redis://:password@127.0.0.1:6379`.
    pub url: String,
    /// The Sentinels that name the server. Excludes `url`.
    pub sentinel: Option<SentinelOptions>,
    /// URLs of some nodes of a Redis Cluster. Excludes `url`.
    pub cluster: Vec<String>,
    /// A PEM file with the only authorities to trust; without it, the system's.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with this node's certificate, and the chain up to its authority.
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    pub client_key_file: Option<PathBuf>,
    /// A NATS credentials file, in place of a user and a password in the URL.
    pub credentials_file: Option<PathBuf>,
    /// The prefix of every name on the server.
    pub prefix: String,
    /// The options that do not depend on the kind of broker.
    pub node: ClusterOptions,
    /// The most bytes of history that the embedded broker keeps.
    pub max_history_bytes: usize,
    /// The most audiences whose last numbers a journal on a server keeps.
    pub max_journals: usize,
}

/// The Sentinels that name the master.
#[derive(Clone, Default)]
pub struct SentinelOptions {
    /// The master's name at the Sentinels.
    pub master: String,
    /// The Sentinels' URLs, with the credentials of the Sentinels.
    pub urls: Vec<String>,
    /// The user at the master; if empty, the first URL's.
    pub username: String,
    /// The password at the master; if empty, the first URL's.
    pub password: String,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            sentinel: None,
            cluster: Vec::new(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            credentials_file: None,
            prefix: String::new(),
            node: ClusterOptions::default(),
            max_history_bytes: DEFAULT_MAX_BYTES,
            max_journals: MAX_JOURNALS,
        }
    }
}

/// An error in the options of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL is not understood. The reason contains no part of it, since any part may be a password.
    #[error("the broker's URL is not usable: {0}")]
    BadUrl(&'static str),
    /// The setting of this name, below `broker`, is not usable. The reason contains no secret.
    #[error("{reason}")]
    BadSetting {
        /// The setting's name.
        name: &'static str,
        /// The reason, for the operator.
        reason: String,
    },
    /// The prefix is too long, or has a character that names cannot have.
    #[error("expected at most {MAX_PREFIX_BYTES} bytes without spaces and control characters")]
    BadPrefix,
}

impl OpenError {
    fn setting(name: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::BadSetting { name, reason }
    }
}

/// Checks the rules for a prefix that all transports share.
fn checked_prefix(prefix: &str) -> Result<Box<str>, OpenError> {
    let is_bad = |c: char| c.is_control() || c.is_whitespace();
    if prefix.len() > MAX_PREFIX_BYTES || prefix.chars().any(is_bad) {
        return Err(OpenError::BadPrefix);
    }
    Ok(prefix.into())
}

/// Opens a broker of this kind. It connects in the background; an unavailable server is no error. Call it inside a
/// runtime, which then drives the broker's tasks until the broker is dropped.
///
/// # Errors
/// If its options are not usable.
pub fn open(
    kind: BrokerKind,
    options: &BrokerOptions,
    inbound: Arc<dyn Inbound>,
) -> Result<Arc<dyn Broker>, OpenError> {
    let transport: Arc<dyn Transport> = match kind {
        BrokerKind::Memory => {
            let ClusterOptions {
                max_remembered_ids,
                max_listed_members,
                ..
            } = options.node;
            let broker = EmbeddedBroker::new(inbound, max_remembered_ids, max_listed_members);
            let journal = MemoryJournal::new(options.max_history_bytes);
            return Ok(Arc::new(broker.keeping(journal)));
        }
        BrokerKind::Redis => Arc::new(redis::Redis::new(options)?),
        BrokerKind::Nats => Arc::new(nats::Nats::new(options)?),
    };
    Ok(Arc::new(ClusterBroker::new(transport, &options.node, inbound)))
}

/// Checks `options` for a broker of this kind as [`open`] does, without connecting. Returns a warning for the operator.
///
/// # Errors
/// As [`open`].
pub fn check(kind: BrokerKind, options: &BrokerOptions) -> Result<Option<&'static str>, OpenError> {
    match kind {
        BrokerKind::Memory => Ok(None),
        BrokerKind::Redis => redis::Redis::new(options).map(|redis| redis.warning()),
        BrokerKind::Nats => nats::Nats::new(options).map(|_| None),
    }
}
