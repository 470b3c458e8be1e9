//! The arguments of a handler.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};

use super::{Site, audit::Audit, body::RequestBody};

/// A request that has reached its handler.
pub(super) struct RouteCall<'a> {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    /// The peer of the connection.
    pub(super) peer: IpAddr,
    /// The client's address, behind trusted proxies too.
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
}
