//! What a handler is called with.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};

use super::{Site, body::RequestBody};

/// A request that has reached its handler.
pub(super) struct RouteCall<'a> {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    /// The other end of the connection.
    pub(super) peer: IpAddr,
    pub(super) site: &'a Arc<Site>,
    /// What stands in the path for the route's parameter; empty if it has none.
    pub(super) segment: &'a str,
}

impl RouteCall<'_> {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The address of the client, behind trusted proxies too.
    pub(super) fn client(&self) -> IpAddr {
        self.site.client(self.peer, self.headers())
    }
}
