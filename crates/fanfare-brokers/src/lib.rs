//! The brokers that carry events between Fanfare's nodes, and how events look on the way.
//!
//! Each broker has a folder and one line in [`open`]; all obey the same laws, which `tests/it` holds them to.

pub mod memory;
mod node;
pub mod redis;
mod remembered;
pub mod wire;

use std::{sync::Arc, time::Duration};

use fanfare_core::{Broker, Inbound, MAX_CLAIMS};

/// What a broker needs to know.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where it is, for those that are somewhere, such as `redis://:password@127.0.0.1:6379/0`.
    pub url: String,
    /// This node's name: short, and no other node's. Where it is empty, a name is made up.
    pub node_id: String,
    /// How long a node goes on hearing all channels after it has let go of [`Interest::AllChannels`]: longer than most
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
            node_id: String::new(),
            linger: Duration::from_secs(30),
            max_remembered_ids: MAX_CLAIMS,
        }
    }
}

/// Why there is no broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No broker is called so.
    #[error("there is no broker of this kind (there are: {})", kinds().join(", "))]
    UnknownKind,
    /// The URL cannot be understood. The reason holds no part of it, since it may have a password.
    #[error("the broker's URL is not usable: {0}")]
    BadUrl(&'static str),
}

/// Opens the broker called `kind`. A broker that is away is no error: it is waited for. Call it inside a runtime,
/// which then drives the broker's tasks until the broker is dropped.
///
/// # Errors
/// When there is no such broker, or its options make no sense.
pub fn open(
    kind: &str,
    options: &BrokerOptions,
    inbound: Arc<dyn Inbound>,
) -> Result<Arc<dyn Broker>, OpenError> {
    match kind {
        "memory" => Ok(Arc::new(memory::MemoryBroker::new(
            inbound,
            options.max_remembered_ids,
        ))),
        "redis" => {
            redis::RedisBroker::open(options, inbound).map(|broker| -> Arc<dyn Broker> { Arc::new(broker) })
        }
        _ => Err(OpenError::UnknownKind),
    }
}

/// Checks `options` for the broker called `kind` as [`open`] does, without connecting; returns what the operator should
/// know of them.
///
/// # Errors
/// As [`open`].
pub fn check(kind: &str, options: &BrokerOptions) -> Result<Option<&'static str>, OpenError> {
    match kind {
        "memory" => Ok(None),
        "redis" => redis::check(options),
        _ => Err(OpenError::UnknownKind),
    }
}

/// The kinds that [`open`] knows.
pub fn kinds() -> &'static [&'static str] {
    &["memory", "redis"]
}
