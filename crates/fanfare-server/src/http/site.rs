//! A listener: its dialects, their paths, and its rules.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use fanfare_accounts::Accounts;
use fanfare_core::{Registry, RequestHead};
use fanfare_engine::{MountedDialect, Node};
use ipnet::IpNet;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use super::{AllowedOrigins, RateLimits, Readiness, ReloadHandle};
use crate::{
    auth::{Credentials, Gate},
    config::Visibility,
    upkeep::Upkeep,
};

/// One listener's dialects and rules. Shared by all shards.
pub struct Site {
    pub(super) node: Arc<Node>,
    pub(super) gate: Arc<Gate>,
    pub(super) dialects: Vec<Arc<MountedDialect>>,
    pub(super) mounts: Vec<Mount>,
    pub(super) options: SiteOptions,
    registry: Registry,
    documents: OnceLock<Documents>,
}

/// The documents that describe a server with these dialects.
pub(super) struct Documents {
    pub(super) openapi: Value,
    pub(super) asyncapi: Value,
}

/// Compares a dialect's path, which may have parameters, with the one that was requested.
pub(super) type PathMatching = fn(&str, &str) -> bool;

/// A path where clients connect.
pub(super) struct Mount {
    /// The dialect of the path.
    host: Arc<MountedDialect>,
    /// A second dialect of the path: it gets the handshakes that it claims, and connections of the first whose messages turn out to be
    /// its own.
    guest: Option<Arc<MountedDialect>>,
}

/// The rules of a listener.
pub struct SiteOptions {
    /// Users, sessions, messages and API keys.
    pub accounts: Accounts,
    /// The listening address.
    pub address: SocketAddr,
    /// The longest time of a drain.
    pub shutdown_timeout: Duration,
    /// The prefix of all paths; empty for none.
    pub prefix: String,
    /// The web pages that may connect.
    pub origins: AllowedOrigins,
    /// Whether callers on this machine need no key while no key exists.
    pub trust_loopback: bool,
    /// Requests reloads of the configuration.
    pub reload: ReloadHandle,
    /// Decides whether the node is ready without its broker.
    pub readiness: Arc<Readiness>,
    /// Counts reloads and orders of certificates.
    pub upkeep: Arc<Upkeep>,
    /// The rules that a reload replaces together.
    pub rules: ArcSwap<SiteRules>,
}

/// The rules of a listener that a reload replaces.
#[derive(Clone)]
pub struct SiteRules {
    /// The log level, such as `info`.
    pub log_level: &'static str,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The rate limits of each address, shared by all listeners.
    pub rate_limits: Arc<RateLimits>,
    /// The API keys of the configuration.
    pub api_keys: Credentials,
    /// The callers of the metrics.
    pub metrics: Visibility,
    /// The callers of the descriptions.
    pub docs: Visibility,
    /// The callers of the operators' page.
    pub admin: Visibility,
    /// The time limit of a TLS handshake together with the head of the first request.
    pub handshake_timeout: Duration,
    /// The time limit of each further request's head, and of each body.
    pub request_timeout: Duration,
    /// The time limit of a client between two requests, and of one that does not read its response.
    pub keep_alive_timeout: Duration,
    /// The limit of a request's line and headers, in bytes.
    pub max_header_size: usize,
    /// The limit of a request's body, in bytes.
    pub max_body_size: usize,
    /// The certificate and key. A reload does not switch TLS on or off.
    pub tls: Option<TlsAcceptor>,
}

impl Site {
    /// Returns a listener of `node` that serves `dialects`, and those of `registry` that every listener serves.
    pub fn new(
        node: Arc<Node>,
        gate: Arc<Gate>,
        dialects: Vec<Arc<MountedDialect>>,
        registry: Registry,
        options: SiteOptions,
    ) -> Arc<Self> {
        let mut dialects = dialects;
        for everywhere in registry.everywhere() {
            if dialects.iter().all(|own| own.number != everywhere) {
                dialects.push(node.dialects[everywhere].clone());
            }
        }
        let is_guest = |host: &MountedDialect, own: &MountedDialect| {
            own.path == host.path && registry.may_share_path(host.name, own.name)
        };
        let hosts = dialects.iter();
        let hosts = hosts.filter(|own| !dialects.iter().any(|other| is_guest(other, own)));
        let mounts = hosts.map(|host| Mount {
            host: host.clone(),
            guest: dialects.iter().find(|own| is_guest(host, own)).cloned(),
        });
        let mounts = mounts.collect();
        Arc::new(Self {
            node,
            gate,
            dialects,
            mounts,
            options,
            registry,
            documents: OnceLock::new(),
        })
    }

    /// Returns the documents that describe this server; `describe` builds them at the first call.
    pub(super) fn documents(&self, describe: fn(Registry) -> Documents) -> &Documents {
        self.documents.get_or_init(|| describe(self.registry))
    }

    /// Returns the current rules. Do not store them: a reload replaces them.
    pub fn rules(&self) -> Guard<Arc<SiteRules>> {
        self.options.rules.load()
    }

    /// Replaces the rules for new connections and requests.
    pub fn replace_rules(&self, rules: SiteRules) {
        self.options.rules.store(Arc::new(rules));
    }

    /// Returns the mount at `path`.
    pub(super) fn mount(&self, path: &str, matches: PathMatching) -> Option<&Mount> {
        let exact = self.mounts.iter().find(|mount| mount.host.path == path);
        exact.or_else(|| self.mounts.iter().find(|mount| matches(mount.host.path, path)))
    }

    /// Returns `path` without the prefix; `None` if it does not have it.
    pub(super) fn local_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.options.prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    /// Returns whether `peer` is a proxy in front of this server.
    pub(super) fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let rules = self.rules();
        rules
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&peer))
    }

    /// Returns the client's address, found behind trusted proxies.
    pub(super) fn client(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        let rules = self.rules();
        if rules.trusted_proxies.is_empty() {
            super::address::warn_of_proxy(peer, headers);
        }
        super::address::client(peer, headers, &rules.trusted_proxies)
    }
}

impl Mount {
    /// Returns the path's template.
    pub(super) fn path(&self) -> &'static str {
        self.host.path
    }

    /// Returns the dialect of a client with this handshake.
    pub(super) fn choose(&self, asked: &RequestHead<'_>) -> &Arc<MountedDialect> {
        match &self.guest {
            Some(guest) if guest.dialect.claims(asked) => guest,
            _ => &self.host,
        }
    }

    /// Returns the dialect that a connection of `chosen` may switch to.
    pub(super) fn guest(&self, chosen: &MountedDialect) -> Option<Arc<MountedDialect>> {
        self.guest.clone().filter(|_| chosen.number == self.host.number)
    }
}
