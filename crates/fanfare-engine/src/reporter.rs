//! The port by which a node reports what the engine does not know of.

use bytes::Bytes;
use fanfare_core::BoxFuture;

/// Answers all nodes' questions about this one that are not the engine's, such as how its database is.
pub trait Reporter: Send + Sync {
    /// The report called `name` as JSON; `None` if there is none of that name.
    fn report<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Bytes>>;
}
