//! Opens the listening sockets of the configuration.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use arc_swap::ArcSwap;
use fanfare_accounts::Accounts;
use fanfare_engine::Node;
use tokio_rustls::TlsAcceptor;

use super::{keys, redis_door, supervisor};
use crate::{
    acme::AcmeCertificate,
    auth::Gate,
    config::{Config, Limits, Listener, Loaded},
    http::{
        self, AllowedOrigins, BindError, Bound, Door, LoadedTls, RateLimits, Readiness, ReloadHandle, Site,
        SiteOptions, SiteRules,
    },
    upkeep::Upkeep,
};

/// A listening address with one socket for each shard.
pub(super) struct OpenDoor {
    /// The number of its listener; `None` for the Redis-protocol door.
    pub(super) listener: Option<usize>,
    pub(super) listening: Listening,
    pub(super) door: Door,
    pub(super) sockets: Vec<TcpListener>,
}

/// A door as the log and the greeting show it.
#[derive(Debug, Clone)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) serves: String,
}

/// The state that all doors serve.
pub(super) struct Serving {
    pub(super) node: Arc<Node>,
    pub(super) gate: Arc<Gate>,
    pub(super) accounts: Accounts,
    pub(super) rate_limits: Arc<RateLimits>,
    pub(super) reload: ReloadHandle,
    pub(super) readiness: Arc<Readiness>,
    pub(super) upkeep: Arc<Upkeep>,
}

/// Binds all addresses before the first connection is accepted, so that a start succeeds whole or fails. `tls` has an entry
/// for each listener; `acme` is the certificate of those with `acme = true`.
pub(super) fn open(
    loaded: &Loaded,
    tls: Vec<Option<LoadedTls>>,
    acme: Option<&AcmeCertificate>,
    serving: &Serving,
    shards: usize,
) -> Result<Vec<OpenDoor>, String> {
    let config = &loaded.config;
    let mut doors: Vec<OpenDoor> = Vec::new();
    let mut passed = supervisor::sockets();
    for (index, (listener, tls)) in config.listener.iter().zip(tls).enumerate() {
        let bound = http::bind(
            listener.bind,
            config.is_dual_stack(listener.bind),
            shards,
            &mut passed,
        )
        .map_err(|error| explain(&error, &format!("listener[{index}].bind"), &doors, &passed))?;
        let address = address_of(&bound);
        note_certificate(&serving.upkeep, listener, tls.as_ref());
        let own = tls.map(|tls| tls.acceptor);
        let acceptor = own.or_else(|| acme.filter(|_| listener.acme).map(AcmeCertificate::acceptor));
        let site = site(config, listener, acceptor, address, serving);
        let serves = listener.dialects.join(", ");
        doors.extend(opened(bound, Some(index), &Door::Http(site), &serves));
    }
    let resp = resp_door(loaded, serving, shards, &doors, &mut passed)?;
    doors.extend(resp);
    for address in passed.iter().filter_map(|socket| socket.local_addr().ok()) {
        tracing::warn!(%address, "the service manager passed a socket that no listener of the configuration has");
    }
    Ok(doors)
}

/// Reports when the certificate of a listener ends.
pub(super) fn note_certificate(upkeep: &Upkeep, listener: &Listener, tls: Option<&LoadedTls>) {
    if let Some(end) = tls.and_then(|tls| tls.end) {
        upkeep.note_certificate(&listener.bind.to_string(), Some(end));
    }
}

pub(super) fn rules(config: &Config, rate_limits: &Arc<RateLimits>, tls: Option<TlsAcceptor>) -> SiteRules {
    let limits = &config.limits;
    SiteRules {
        log_level: config.log.level.name(),
        trusted_proxies: limits.trusted_proxies.iter().map(|network| network.0).collect(),
        rate_limits: rate_limits.clone(),
        api_keys: keys::api_keys(config),
        metrics: config.api.metrics,
        docs: config.api.docs,
        admin: config.api.admin,
        handshake_timeout: limits.handshake_timeout,
        request_timeout: limits.request_timeout,
        keep_alive_timeout: limits.keep_alive_timeout,
        max_header_size: limits.max_header_size,
        max_body_size: limits.max_body_size,
        tls,
    }
}

/// Returns the rates of handshakes and requests of one address, and the burst.
pub(super) fn rates(limits: &Limits) -> [u32; 3] {
    [
        limits.upgrades_per_second_per_ip,
        limits.requests_per_second_per_ip,
        limits.burst,
    ]
}

/// Returns the limits of [`rates`], and removes full buckets as long as they are used.
pub(super) fn rate_limits(limits: &Limits) -> Arc<RateLimits> {
    let [upgrades, requests, burst] = rates(limits);
    let rate_limits = RateLimits::new(upgrades, requests, burst);
    rate_limits.spawn_cleanup();
    rate_limits
}

fn site(
    config: &Config,
    listener: &Listener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    serving: &Serving,
) -> Arc<Site> {
    let node = &serving.node;
    let named = |name: &String| {
        let number = config.registry.number(name)?;
        Some(node.dialects[number].clone())
    };
    let options = SiteOptions {
        accounts: serving.accounts.clone(),
        address,
        shutdown_timeout: config.shutdown.timeout,
        prefix: listener.prefix.trim_end_matches('/').to_owned(),
        origins: AllowedOrigins::new(&config.auth.allowed_origins),
        trust_loopback: config.api.trust_loopback,
        reload: serving.reload.clone(),
        readiness: serving.readiness.clone(),
        upkeep: serving.upkeep.clone(),
        rules: ArcSwap::from_pointee(rules(config, &serving.rate_limits, tls)),
    };
    let dialects = listener.dialects.iter().filter_map(named).collect();
    Site::new(
        node.clone(),
        serving.gate.clone(),
        dialects,
        config.registry,
        options,
    )
}

/// Returns the Redis-protocol door. If its default port is taken, most likely by a Redis, the server runs without it.
fn resp_door(
    loaded: &Loaded,
    serving: &Serving,
    shards: usize,
    listeners: &[OpenDoor],
    passed: &mut Vec<TcpListener>,
) -> Result<Vec<OpenDoor>, String> {
    let config = &loaded.config;
    let has_door = config.broker.kind.has_embedded_door();
    let Some(bind) = config.resp.bind.filter(|_| has_door) else {
        return Ok(Vec::new());
    };
    match http::bind(bind, config.is_dual_stack(bind), shards, passed) {
        Ok(bound) => {
            let port = address_of(&bound).port();
            let door = redis_door::door(config, &serving.node, &serving.accounts, port);
            let door = Door::Resp(Arc::new(door), config.resp.max_connections as u64);
            Ok(opened(bound, None, &door, "Redis protocol, for publishers").collect())
        }
        Err(taken) if taken.error.kind() == ErrorKind::AddrInUse && !loaded.is_configured("resp.bind") => {
            tracing::warn!(
                address = %bind,
                "the address of the Redis-protocol door is taken, perhaps by a Redis; the server runs without the door \
                 (set resp.bind to another address, or to \"\" to silence this; or use that Redis: [broker] kind = \"redis\")"
            );
            Ok(Vec::new())
        }
        Err(error) => Err(explain(&error, "resp.bind", listeners, passed)),
    }
}

fn opened(
    bound: Vec<Bound>,
    listener: Option<usize>,
    door: &Door,
    serves: &str,
) -> impl Iterator<Item = OpenDoor> {
    bound.into_iter().map(move |Bound { address, sockets }| OpenDoor {
        listener,
        listening: Listening {
            address,
            serves: serves.to_owned(),
        },
        door: door.clone(),
        sockets,
    })
}

/// Returns the bound address: for port 0, the system chose the port.
fn address_of(bound: &[Bound]) -> SocketAddr {
    let first = bound.first().map(|bound| bound.address);
    first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// Returns why an address cannot be bound. `own` are the open doors of this process, `passed` the service manager's sockets that no
/// door uses.
fn explain(failed: &BindError, key: &str, own: &[OpenDoor], passed: &[TcpListener]) -> String {
    let BindError { address, error } = failed;
    let same_port = |other: &SocketAddr| other.port() == address.port();
    let owner = own.iter().map(|door| door.listening.address).find(same_port);
    let mut passed = passed.iter().filter_map(|socket| socket.local_addr().ok());
    let manager = passed.find(same_port);
    let reason = match (error.kind(), owner) {
        (ErrorKind::AddrInUse, Some(own)) => format!("this configuration already listens on {own}"),
        (ErrorKind::AddrInUse, None) if address.port() == 0 => "no port is free".to_owned(),
        (ErrorKind::AddrInUse, None) => match manager {
            Some(manager) => format!("the service manager passed {manager}: set both to the same address"),
            None => "another program has this port".to_owned(),
        },
        (ErrorKind::PermissionDenied, _) => format!("{error} (ports below 1024 need a privilege)"),
        (ErrorKind::AddrNotAvailable, _) => "no interface of this machine has that address".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}, set by {key}: {reason}")
}
