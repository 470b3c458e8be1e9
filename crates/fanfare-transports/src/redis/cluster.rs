//! The node of a Redis Cluster that all of Fanfare's nodes use, and how it is found.
//!
//! It is the master of the slot of one key, here called the hub. A node that is asked for the key says who has it, as
//! Redis Cluster does for every key, so the hub is found and checked without knowing the Cluster's map. Where the slot
//! goes, by a failover or by a migration, all nodes follow.

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
/// How often a search follows from one node to the next.
const HOPS: usize = 4;
/// Checks in a row after which a Cluster that is down counts as away: a failover is over by then.
const DOWN: u32 = 5;

/// What is published at another node of a Cluster than where it is received may arrive so much later.
const BUS_DELAY: Duration = Duration::from_millis(400);
/// How often the library follows a key to another node.
const RETRIES: u32 = 3;

/// See the module's documentation.
pub(super) struct Cluster {
    key: String,
    /// Where this node published last, and where it received.
    last: Mutex<[Option<String>; 2]>,
    /// The library's own client for Clusters.
    pub(super) client: ClusterClient,
    /// The configured nodes.
    seeds: String,
    /// The configured nodes, and then those that the hub was found at.
    nodes: Mutex<Vec<ConnectionInfo>>,
}

/// What a node says of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hub {
    /// It is the hub.
    Here,
    /// The hub is there.
    There(String, u16),
}

impl Cluster {
    /// The Cluster of these nodes, at least one.
    ///
    /// # Errors
    /// When this system cannot connect to such a server.
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
    /// If it is another than before, the Cluster may still be passing on to the new one what was published at the old one:
    /// to be overtaken by later events, or to be received for a second time. So its time is left to it.
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
                self.hub(&connection).await
            };
            match answer.await {
                Ok(Hub::Here) => Ok(address::host_and_port(node)),
                Ok(Hub::There(host, port)) => Ok(elsewhere(node, host, port)),
                Err(error) => Err(format!("{}: {}", address::place(node), texts.describe(&error))),
            }
        });
        let (mut host, mut port) = most_named(answers, None).await?;
        for _ in 0..HOPS {
            let info = address::moved(&nodes[0], &host, port);
            let at = |error: &RedisError| format!("{}: {}", address::place(&info), texts.describe(error));
            let server = Server::connect(&info).await.map_err(|error| at(&error))?;
            match self.hub(&server.connection).await.map_err(|error| at(&error))? {
                Hub::Here => {
                    self.learn(info);
                    return Ok(server);
                }
                Hub::There(to, at) => (host, port) = elsewhere(&info, to, at),
            }
        }
        Err("the Cluster's nodes do not agree on who has the slot".to_owned())
    }

    /// Carries out `commands`, which a node did not because their slot has moved or is on its way to another node. Returns
    /// what each returned; `None` for an error.
    ///
    /// Here the library's own support for Clusters does it, which follows each key. It cannot publish: it repeats what
    /// a lost connection may have carried out already.
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

    /// Whether `server` lives and is still the hub.
    pub(super) async fn check(&self, server: &Server, texts: &ErrorTexts) -> Result<(), Failed> {
        match self.hub(&server.connection).await {
            Ok(Hub::Here) => {}
            Ok(Hub::There(host, port)) => return Err(format!("the slot has moved to {host}:{port}")),
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

    /// Asks the node behind `connection` for the hub.
    async fn hub(&self, connection: &MultiplexedConnection) -> Result<Hub, RedisError> {
        let mut connection = connection.clone();
        let answer = redis::cmd("GET")
            .arg(&self.key)
            .query_async::<Value>(&mut connection)
            .await;
        match answer {
            Ok(_) => Ok(Hub::Here),
            // A slot on its way to another node stays where it is until it has arrived.
            Err(error) if error.code() == Some("ASK") => Ok(Hub::Here),
            Err(error) => match error.redirect_node().and_then(|(to, _)| to.rsplit_once(':')) {
                Some((host, port)) => match port.parse() {
                    Ok(port) => Ok(Hub::There(host.to_owned(), port)),
                    Err(_) => Err(error),
                },
                None => Err(error),
            },
        }
    }

    /// Remembers a node, by which the Cluster can be found when none of the configured ones is there.
    fn learn(&self, node: ConnectionInfo) {
        let mut nodes = locked(&self.nodes);
        let place = address::place(&node);
        if nodes.len() < LEARNED && !nodes.iter().any(|known| address::place(known) == place) {
            nodes.push(node);
        }
    }
}

/// The host and the port that `node` named. Without a host, it is the node's own.
fn elsewhere(node: &ConnectionInfo, host: String, port: u16) -> (String, u16) {
    if host.is_empty() || host == "?" {
        (address::host_and_port(node).0, port)
    } else {
        (host, port)
    }
}
