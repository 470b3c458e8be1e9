//! The transports between Fanfare's nodes: how messages and idempotency keys look on each, and nothing of what they mean.
//!
//! Each transport has a folder and one line in [`open`]; all obey the same laws, which `tests/it` holds them to.

mod redis;

use std::{sync::Arc, time::Duration};

use fanfare_cluster::{ClusterBroker, ClusterOptions, embedded::EmbeddedBroker};
use fanfare_core::{Broker, Inbound, MAX_CLAIMS};

/// The longest prefix.
pub const MAX_PREFIX_BYTES: usize = 64;

/// What a broker needs to know.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where its server is, such as `redis://:password@127.0.0.1:6379`.
    pub url: String,
    /// Stands before every name on the server.
    pub prefix: String,
    /// This node's name: short, and no other node's. If it is empty, a name is made up.
    pub node_id: String,
    /// How long a node stays subscribed to all channels after it has released [`Interest::AllChannels`]: longer than most
    /// clients take to come back.
    ///
    /// [`Interest::AllChannels`]: fanfare_core::Interest::AllChannels
    pub linger: Duration,
    /// The ids that this node's own memory holds at most.
    pub max_remembered_ids: usize,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            prefix: String::new(),
            node_id: String::new(),
            linger: Duration::from_secs(30),
            max_remembered_ids: MAX_CLAIMS,
        }
    }
}

/// Why there is no broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no broker of this name.
    #[error("there is no broker of this kind (there are: {})", kinds().join(", "))]
    UnknownKind,
    /// The URL is not understood. The reason contains no part of it, since it may have a password.
    #[error("the broker's URL is not usable: {0}")]
    BadUrl(&'static str),
    /// The prefix is too long, or no text for a name.
    #[error("expected at most {MAX_PREFIX_BYTES} bytes without spaces and control characters")]
    BadPrefix,
}

/// Opens the broker called `kind`. It connects in the background; a server that is away is no error. Call it inside a
/// runtime, which then drives the broker's tasks until the broker is dropped.
///
/// # Errors
/// When there is no such broker, or its options make no sense.
pub fn open(
    kind: &str,
    options: &BrokerOptions,
    inbound: Arc<dyn Inbound>,
) -> Result<Arc<dyn Broker>, OpenError> {
    let transport = match kind {
        "memory" => {
            let broker = EmbeddedBroker::new(inbound, options.max_remembered_ids);
            return Ok(Arc::new(broker));
        }
        "redis" => Box::new(redis::Redis::new(options)?),
        _ => return Err(OpenError::UnknownKind),
    };
    let cluster = ClusterOptions {
        node_id: options.node_id.clone(),
        linger: options.linger,
        max_remembered_ids: options.max_remembered_ids,
    };
    Ok(Arc::new(ClusterBroker::new(transport, cluster, inbound)))
}

/// Checks `options` for the broker called `kind` as [`open`] does, without connecting. Returns a warning for the operator.
///
/// # Errors
/// As [`open`].
pub fn check(kind: &str, options: &BrokerOptions) -> Result<Option<&'static str>, OpenError> {
    match kind {
        "memory" => Ok(None),
        "redis" => redis::Redis::new(options).map(|redis| redis.warning()),
        _ => Err(OpenError::UnknownKind),
    }
}

/// The kinds that [`open`] knows.
pub fn kinds() -> &'static [&'static str] {
    &["memory", "redis"]
}
