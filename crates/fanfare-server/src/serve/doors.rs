//! The listening sockets that the configuration asks for.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc};

use tokio_rustls::TlsAcceptor;

use super::redis_door;
use crate::{
    accounts::Accounts,
    auth::Credentials,
    config::{Config, Listener, Loaded, Secret},
    engine::Node,
    http::{self, Door, Origins, RateLimits, Site, SiteOptions},
};

/// A listening address with one socket for each shard.
pub(super) struct OpenDoor {
    pub(super) listening: Listening,
    pub(super) door: Door,
    pub(super) sockets: Vec<std::net::TcpListener>,
}

/// What the log and the greeting say of a door.
#[derive(Debug, Clone)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) serves: String,
}

/// Binds everything before the first connection is accepted, so that a start either succeeds whole or fails clearly.
///
/// `tls` has an entry for each listener, in their order.
pub(super) fn open(
    loaded: &Loaded,
    tls: Vec<Option<TlsAcceptor>>,
    node: &Arc<Node>,
    accounts: &Accounts,
    rate_limits: &Arc<RateLimits>,
    shards: usize,
) -> Result<Vec<OpenDoor>, String> {
    let config = &loaded.config;
    let mut doors = Vec::new();
    for (listener, tls) in config.listener.iter().zip(tls) {
        let sockets = http::bind(listener.bind, shards)
            .map_err(|error| explain(listener.bind, "listener.bind", &error))?;
        let site = site(
            config,
            listener,
            tls,
            address_of(&sockets),
            node,
            accounts,
            rate_limits,
        );
        doors.push(opened(sockets, Door::Http(site), listener.dialects.join(", ")));
    }
    doors.extend(resp_door(loaded, node, accounts, shards)?);
    Ok(doors)
}

fn site(
    config: &Config,
    listener: &Listener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    node: &Arc<Node>,
    accounts: &Accounts,
    rate_limits: &Arc<RateLimits>,
) -> Arc<Site> {
    let named = |name: &String| fanfare_dialects::find(name).map(|(number, _)| node.dialects[number].clone());
    let options = SiteOptions {
        accounts: accounts.clone(),
        address,
        log_level: config.log.level.name(),
        shutdown_timeout: config.shutdown.timeout,
        prefix: listener.prefix.trim_end_matches('/').to_owned(),
        origins: Origins::new(&config.auth.allowed_origins),
        trusted_proxies: config.limits.trusted_proxies.clone(),
        rate_limits: rate_limits.clone(),
        api_keys: Credentials::new(config.api.keys.iter().map(Secret::expose)),
        handshake_timeout: config.limits.handshake_timeout,
        request_timeout: config.limits.request_timeout,
        keep_alive_timeout: config.limits.keep_alive_timeout,
        max_header_size: config.limits.max_header_size,
        max_body_size: config.limits.max_body_size,
        tls,
    };
    let dialects = listener.dialects.iter().filter_map(named).collect();
    let is_guest = |host: &str, guest: &str| fanfare_dialects::SHARING.contains(&(host, guest));
    Site::new(node.clone(), dialects, is_guest, options)
}

/// The Redis-protocol door. Where nobody asked for it and its port is taken, most likely by a Redis, the server goes
/// on without it.
fn resp_door(
    loaded: &Loaded,
    node: &Arc<Node>,
    accounts: &Accounts,
    shards: usize,
) -> Result<Option<OpenDoor>, String> {
    let config = &loaded.config;
    let Some(address) = config
        .resp
        .bind
        .filter(|_| config.broker.kind.has_embedded_door())
    else {
        return Ok(None);
    };
    let Some(broker) = node.broker() else {
        return Ok(None);
    };
    match http::bind(address, shards) {
        Ok(sockets) => {
            let port = sockets
                .first()
                .and_then(|socket| socket.local_addr().ok())
                .map_or(address.port(), |own| own.port());
            let door = redis_door::door(config, node, accounts, broker.clone(), port);
            let door = Door::Resp(Arc::new(door), config.resp.max_connections as u64);
            Ok(Some(opened(
                sockets,
                door,
                "Redis protocol, for publishers".into(),
            )))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse && !loaded.is_configured("resp.bind") => {
            tracing::warn!(
                %address,
                "the address of the Redis-protocol door is taken, perhaps by a Redis; going on without the door \
                 (set resp.bind to another address, or to \"\" to silence this; or use that Redis: [broker] kind = \"redis\")"
            );
            Ok(None)
        }
        Err(error) => Err(explain(address, "resp.bind", &error)),
    }
}

fn opened(sockets: Vec<std::net::TcpListener>, door: Door, serves: String) -> OpenDoor {
    OpenDoor {
        listening: Listening {
            address: address_of(&sockets),
            serves,
        },
        door,
        sockets,
    }
}

/// Where the sockets really listen, since port 0 lets the system choose.
fn address_of(sockets: &[std::net::TcpListener]) -> SocketAddr {
    let address = sockets.first().and_then(|socket| socket.local_addr().ok());
    address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

fn explain(address: SocketAddr, key: &str, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => " (another program listens there)",
        ErrorKind::PermissionDenied => " (ports below 1024 need a privilege)",
        ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    };
    format!("cannot listen on {address}, set by {key}: {error}{hint}")
}
