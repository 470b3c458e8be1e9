//! The arguments of a handler, and the log of operators' changes.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::{Site, body::RequestBody, caller::Caller};

/// A request that has reached its handler.
pub(super) struct RouteCall<'a> {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    /// The peer of the connection.
    pub(super) peer: IpAddr,
    /// The client's address, found behind trusted proxies.
    pub(super) client: IpAddr,
    pub(super) audit: Audit,
    pub(super) site: &'a Arc<Site>,
    /// The path's segment for the route's parameter; empty if it has none.
    pub(super) segment: &'a str,
}

impl RouteCall<'_> {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Returns the UUID in the path.
    pub(super) fn id(&self) -> Result<Uuid, &'static str> {
        let id = self.segment.parse();
        id.map_err(|_| "the id in the path is not a UUID")
    }

    /// Returns the name in the path, which is percent-encoded there.
    pub(super) fn name(&self) -> Result<Cow<'_, str>, &'static str> {
        let name = percent_decode_str(self.segment).decode_utf8();
        name.map_err(|_| "the name in the path is not UTF-8")
    }
}

/// Logs the changes of one request. A text must not contain a secret, nor published data.
pub(super) struct Audit {
    /// `None` on a route without credentials.
    caller: Option<Caller>,
    address: IpAddr,
}

impl Audit {
    pub(super) fn new(caller: Option<Caller>, address: IpAddr) -> Self {
        Self { caller, address }
    }

    /// Logs that the caller changed something.
    pub(super) fn changed(&self, what: &str) {
        if let Some(caller) = &self.caller {
            // As a text, which the log escapes: a key's name is its creator's.
            let who = caller.to_string();
            tracing::info!(who = who.as_str(), what, address = %self.address, "changed by an operator");
        }
    }

    /// Logs a publication: an admin's as a change, a backend's only for debugging, because backends publish all the time.
    pub(super) fn published(&self, what: &str) {
        match &self.caller {
            None => {}
            Some(Caller::Admin(_)) => self.changed(what),
            Some(caller) => {
                let who = caller.to_string();
                tracing::debug!(who = who.as_str(), what, address = %self.address, "published by the service API");
            }
        }
    }
}
