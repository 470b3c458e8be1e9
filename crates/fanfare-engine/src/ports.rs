//! The ports of the engine: what a server provides to a node.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::{BoxFuture, Denial, Event, Identity, Reach, Receipt, policy::AccessControl};

/// Verifies the credentials that clients send while connected, and keeps the revoked ones.
pub trait Authenticator: Send + Sync {
    /// Returns the identity that `token` proves. `dialect` names the client's dialect, for the log of refusals.
    ///
    /// # Errors
    /// Returns the answer for the client.
    fn identify<'a>(
        &'a self,
        dialect: &'static str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Identity>, Denial>>;

    /// Returns whether the credential of `identity` was revoked.
    fn is_revoked(&self, identity: &Identity) -> bool;

    /// Revokes the credentials of a login session that another node has ended.
    fn revoke_session(&self, session: &str);
}

/// Answers the questions of all nodes about this one that the engine cannot answer, such as the state of its database.
pub trait Reporter: Send + Sync {
    /// Returns the report `name` as JSON; `None` if there is none.
    fn report<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Bytes>>;
}

/// Ends a span with its result. A span that is dropped ends without one.
pub type EndSpan<T> = Box<dyn FnOnce(T) + Send>;

/// Records spans. Its methods are called for each event, so they must not wait.
pub trait SpanRecorder: Send + Sync {
    /// Begins the span of a publication, and stores its context in the event. Returns `None` if the trace is not sampled.
    fn publish(&self, event: &mut Event, access: &AccessControl) -> Option<EndSpan<Receipt>>;

    /// Begins the span of an event's delivery to this node's connections. Returns `None` if the event has no sampled trace.
    fn deliver(&self, event: &Event, access: &AccessControl) -> Option<EndSpan<Reach>>;

    /// Returns the numbers of finished spans since the start, each with its label in the metrics.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}
