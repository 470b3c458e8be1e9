//! Finds the node of a Redis Cluster that all of Fanfare's nodes use.
//!
//! It is the master of the slot of one key, here called the hub. Every server redirects a command for that key to the hub, so the hub is
//! found and checked without the Cluster's map. If the slot moves, by a failover or a migration, all nodes follow.

use std::{
    sync::{Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use fanfare_cluster::{ANSWER_TIMEOUT, transport::Failed};
use fanfare_core::locked;
use redis::{
    Client, Cmd, ConnectionInfo, ProtocolVersion, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection, cluster::ClusterClient,
};

use super::{
    address,
    errors::ErrorTexts,
    server::{self, Purpose, QUESTION_TIMEOUT, Server, majority},
};
use crate::OpenError;

/// The most nodes that are remembered, with the configured ones.
const MAX_NODES: usize = 64;
/// The most redirections that a search follows.
const MAX_REDIRECTIONS: usize = 4;
/// The number of checks in a row after which a Cluster that is down counts as unavailable: a failover is over by then.
const MAX_DOWN_CHECKS: u32 = 5;
/// The longest time that a Cluster takes to forward a publication from one node to another.
const BUS_DELAY: Duration = Duration::from_millis(400);
/// The most times that the client library follows a key to another node.
const RETRIES: u32 = 3;

/// The nodes of a Cluster, and the hub among them.
pub(super) struct Cluster {
    /// The key whose slot's master is the hub.
    key: String,
    /// The hub of the last connection for each [`Purpose`].
    last_hubs: Mutex<[Option<String>; 2]>,
    /// The client library's own client for Clusters.
    pub(super) client: ClusterClient,
    /// The configured nodes, for the log.
    pub(super) seeds: String,
    /// The configured nodes, and those that were the hub.
    nodes: Mutex<Vec<ConnectionInfo>>,
}

impl Cluster {
    /// Returns the Cluster of these nodes, at least one.
    ///
    /// # Errors
    /// If this system cannot connect to such a server.
    pub(super) fn new(
        seeds: &[ConnectionInfo],
        key: String,
        authorities: Option<&TlsCertificates>,
    ) -> Result<Self, OpenError> {
        let mut client = ClusterClient::builder(seeds.to_vec())
            .connection_timeout(ANSWER_TIMEOUT)
            .response_timeout(ANSWER_TIMEOUT)
            .use_protocol(ProtocolVersion::RESP3)
            .retries(RETRIES);
        if let Some(authorities) = authorities.filter(|_| seeds.iter().any(address::is_encrypted)) {
            client = client.certs(authorities.clone());
        }
        let unusable = |_| OpenError::setting("cluster", "expected servers that this system can connect to");
        let client = client.build().map_err(unusable)?;
        let places: Vec<String> = seeds.iter().map(address::place).collect();
        Ok(Self {
            key,
            last_hubs: Mutex::default(),
            client,
            seeds: places.join(", "),
            nodes: Mutex::new(seeds.to_vec()),
        })
    }

    /// Connects to the hub.
    ///
    /// If the hub has changed, the Cluster may still forward publications from the old hub to the new one. Later events could overtake them,
    /// or they could be received twice, so this waits until they have arrived.
    pub(super) async fn connect(&self, purpose: Purpose, texts: &ErrorTexts) -> Result<Server, Failed> {
        let server = self.find_hub(texts).await?;
        let place = address::place(server.client.get_connection_info());
        let last = locked(&self.last_hubs)[purpose as usize].replace(place.clone());
        if last.is_some_and(|last| last != place) {
            tokio::time::sleep(BUS_DELAY).await;
        }
        Ok(server)
    }

    async fn find_hub(&self, texts: &ErrorTexts) -> Result<Server, Failed> {
        let nodes = locked(&self.nodes).clone();
        let answers = nodes.iter().map(|node| async {
            let answer = async {
                let connection = server::connect(&Client::open(node.clone())?, QUESTION_TIMEOUT).await?;
                self.hub(node, &connection).await
            };
            let hub = answer
                .await
                .map(|hub| hub.unwrap_or_else(|| address::host_and_port(node)));
            hub.map_err(|error| format!("{}: {}", address::place(node), texts.describe(&error)))
        });
        let (mut host, mut port) = majority(answers, None).await?;
        for _ in 0..MAX_REDIRECTIONS {
            let info = address::with_address(&nodes[0], &host, port);
            let at = |error: &RedisError| format!("{}: {}", address::place(&info), texts.describe(error));
            let server = Server::connect(&info).await.map_err(|error| at(&error))?;
            let hub = self.hub(&info, &server.connection).await;
            match hub.map_err(|error| at(&error))? {
                None => {
                    self.remember(info);
                    return Ok(server);
                }
                Some(hub) => (host, port) = hub,
            }
        }
        Err("the Cluster's nodes do not agree on who has the slot".to_owned())
    }

    /// Executes `commands`, which a node redirected because their slot has moved or is migrating. Returns each answer; `None` for an error.
    ///
    /// Uses the client library's own client, which follows each key. It must not publish: after a lost connection it repeats commands that
    /// may have been executed.
    pub(super) async fn follow(&self, commands: &[Cmd]) -> Vec<Option<Value>> {
        let start = Instant::now();
        let mut values = vec![None; commands.len()];
        let Ok(mut connection) = self.client.get_async_connection().await else {
            return values;
        };
        for (command, value) in commands.iter().zip(&mut values) {
            match command.query_async(&mut connection).await {
                Ok(answer) => *value = Some(answer),
                Err(error) if error.code().is_none() => break,
                Err(_) => {}
            }
            if start.elapsed() > ANSWER_TIMEOUT {
                break;
            }
        }
        values
    }

    /// Checks that `server` answers and is still the hub.
    pub(super) async fn check(&self, server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
        let node = server.client.get_connection_info();
        match self.hub(node, &server.connection).await {
            Ok(None) => {}
            Ok(Some((host, port))) => return Err(format!("the slot has moved to {host}:{port}")),
            Err(error) if error.code() == Some("CLUSTERDOWN") => {
                if server.down_checks.fetch_add(1, Ordering::Relaxed) + 1 < MAX_DOWN_CHECKS {
                    return Ok(());
                }
                return Err(texts.describe(&error));
            }
            Err(error) => server::check_alive(texts, Err(error))?,
        }
        server.down_checks.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Asks `node` for the hub. Returns the hub's host and port; `None` if the node is the hub.
    async fn hub(
        &self,
        node: &ConnectionInfo,
        connection: &MultiplexedConnection,
    ) -> Result<Option<(String, u16)>, RedisError> {
        let mut connection = connection.clone();
        let answer = redis::cmd("GET")
            .arg(&self.key)
            .query_async::<Value>(&mut connection)
            .await;
        let Err(error) = answer else { return Ok(None) };
        // A migrating slot belongs to this node until the migration is complete.
        if error.code() == Some("ASK") {
            return Ok(None);
        }
        let hub = error.redirect_node().and_then(|(to, _)| {
            let (host, port) = to.rsplit_once(':')?;
            let port = port.parse().ok()?;
            // A redirection without a host means the node's own host.
            if host.is_empty() || host == "?" {
                return Some((address::host_and_port(node).0, port));
            }
            Some((host.to_owned(), port))
        });
        hub.map(Some).ok_or(error)
    }

    /// Remembers a node, so that the Cluster is found even if no configured node is available.
    fn remember(&self, node: ConnectionInfo) {
        let mut nodes = locked(&self.nodes);
        let place = address::place(&node);
        if nodes.len() < MAX_NODES && !nodes.iter().any(|known| address::place(known) == place) {
            nodes.push(node);
        }
    }
}
