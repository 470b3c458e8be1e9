//! The node of a Redis Cluster that all of Fanfare's nodes use, and how it is found.
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
    server::{self, Server, Side, most_named},
};
use crate::OpenError;

/// Nodes that are remembered besides the configured ones.
const LEARNED: usize = 64;
/// The most redirections that a search follows.
const HOPS: usize = 4;
/// Checks in a row after which a Cluster that is down counts as unavailable: a failover is over by then.
const DOWN: u32 = 5;

/// The longest time that a Cluster takes to forward a publication from one node to another.
const BUS_DELAY: Duration = Duration::from_millis(400);
/// How often the library follows a key to another node.
const RETRIES: u32 = 3;

/// See the module's documentation.
pub(super) struct Cluster {
    key: String,
    /// The hubs at which this node published last, and received last.
    last: Mutex<[Option<String>; 2]>,
    /// The library's own client for Clusters.
    pub(super) client: ClusterClient,
    /// The configured nodes.
    seeds: String,
    /// The configured nodes, and then those that the hub was found at.
    nodes: Mutex<Vec<ConnectionInfo>>,
}

impl Cluster {
    /// The Cluster of these nodes, at least one.
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
        let client = client.build().map_err(|_| OpenError::BadSetting {
            name: "cluster",
            reason: "expected servers that this system can connect to".to_owned(),
        })?;
        let places: Vec<String> = seeds.iter().map(address::place).collect();
        Ok(Self {
            key,
            last: Mutex::default(),
            client,
            seeds: places.join(", "),
            nodes: Mutex::new(seeds.to_vec()),
        })
    }

    /// The configured nodes.
    pub(super) fn address(&self) -> String {
        self.seeds.clone()
    }

    /// Connects to the hub, for publishing or for receiving.
    ///
    /// If the hub has changed, the Cluster may still forward publications from the old hub to the new one. Later events could overtake them,
    /// or they could be received twice, so this waits until they have arrived.
    pub(super) async fn find(&self, side: Side, texts: &ErrorTexts) -> Result<Server, Failed> {
        let server = self.search(texts).await?;
        let place = address::place(server.client.get_connection_info());
        let last = locked(&self.last)[side as usize].replace(place.clone());
        if last.is_some_and(|last| last != place) {
            tokio::time::sleep(BUS_DELAY).await;
        }
        Ok(server)
    }

    async fn search(&self, texts: &ErrorTexts) -> Result<Server, Failed> {
        let nodes = locked(&self.nodes).clone();
        let answers = nodes.iter().map(|node| async {
            let answer = async {
                let connection = server::connect_briefly(&Client::open(node.clone())?).await?;
                self.hub(node, &connection).await
            };
            let hub = answer
                .await
                .map(|hub| hub.unwrap_or_else(|| address::host_and_port(node)));
            hub.map_err(|error| format!("{}: {}", address::place(node), texts.describe(&error)))
        });
        let (mut host, mut port) = most_named(answers, None).await?;
        for _ in 0..HOPS {
            let info = address::moved(&nodes[0], &host, port);
            let at = |error: &RedisError| format!("{}: {}", address::place(&info), texts.describe(error));
            let server = Server::connect(&info).await.map_err(|error| at(&error))?;
            let hub = self.hub(&info, &server.connection).await;
            match hub.map_err(|error| at(&error))? {
                None => {
                    self.learn(info);
                    return Ok(server);
                }
                Some(hub) => (host, port) = hub,
            }
        }
        Err("the Cluster's nodes do not agree on who has the slot".to_owned())
    }

    /// Carries out `commands`, which a node redirected because their slot has moved or is migrating. Returns each answer; `None` for an
    /// error.
    ///
    /// The library's own client for Clusters does it, which follows each key. It cannot publish: after a lost connection it repeats commands
    /// that may have been carried out.
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
                if server.down.fetch_add(1, Ordering::Relaxed) + 1 < DOWN {
                    return Ok(());
                }
                return Err(texts.describe(&error));
            }
            Err(error) => server::alive(texts, Err(error))?,
        }
        server.down.store(0, Ordering::Relaxed);
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
            // Without a host, it is the node's own.
            if host.is_empty() || host == "?" {
                return Some((address::host_and_port(node).0, port));
            }
            Some((host.to_owned(), port))
        });
        hub.map(Some).ok_or(error)
    }

    /// Remembers a node, by which the Cluster is found if no configured node is available.
    fn learn(&self, node: ConnectionInfo) {
        let mut nodes = locked(&self.nodes);
        let place = address::place(&node);
        if nodes.len() < LEARNED && !nodes.iter().any(|known| address::place(known) == place) {
            nodes.push(node);
        }
    }
}
