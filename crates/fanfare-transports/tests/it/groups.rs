//! Groups of Redis servers: a master and a replica with Sentinels, and a Cluster.
//!
//! Tests that leave a group unchanged share one. Its processes end with the last test that uses it.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use fanfare_transports::{BrokerOptions, SentinelOptions};
use rand::Rng;
use redis::Value;

use crate::server::{RedisServer, free_port};

const SENTINELS: usize = 3;
/// The master's name at the Sentinels.
const NAME: &str = "mymaster";
/// A replica is synchronised at once, without a pause for further replicas.
const REPLICATION: &[&str] = &[
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
];
const MASTERS: usize = 3;
pub(crate) const SLOTS: usize = 16_384;

/// A master, a replica, and the Sentinels that watch them.
pub(crate) struct SentinelGroup {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) sentinels: Vec<RedisServer>,
}

/// Three masters with a replica each.
pub(crate) struct ClusterGroup {
    pub(crate) servers: Vec<RedisServer>,
}

impl SentinelGroup {
    pub(crate) fn start() -> Self {
        let master = RedisServer::start_as(free_port(), None, REPLICATION);
        let port = master.port().to_string();
        let replica = RedisServer::start_as(
            free_port(),
            None,
            &[REPLICATION, &["--replicaof", "127.0.0.1", &port]].concat(),
        );
        let sentinel = |_| {
            let sentinel = RedisServer::start_as(free_port(), None, &["--sentinel"]);
            sentinel.command(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "2"]);
            for (setting, value) in [("down-after-milliseconds", "1000"), ("failover-timeout", "5000")] {
                sentinel.command(&["SENTINEL", "SET", NAME, setting, value]);
            }
            sentinel
        };
        let group = Self {
            sentinels: (0..SENTINELS).map(sentinel).collect(),
            servers: vec![master, replica],
        };
        for sentinel in &group.sentinels {
            wait("the Sentinels know all", || {
                let known = |command: &str| match sentinel.try_command(&["SENTINEL", command, NAME]) {
                    Ok(Value::Array(known)) => known.len(),
                    _ => 0,
                };
                known("SENTINELS") == SENTINELS - 1 && known("REPLICAS") == 1
            });
        }
        wait("the replica is in step", || {
            text(&group.servers[1], &["INFO", "replication"]).contains("master_link_status:up")
        });
        group
    }

    pub(crate) fn options(&self) -> BrokerOptions {
        BrokerOptions {
            sentinel: Some(SentinelOptions {
                master: NAME.to_owned(),
                urls: self.sentinels.iter().map(RedisServer::url).collect(),
                ..SentinelOptions::default()
            }),
            ..BrokerOptions::default()
        }
    }

    /// As [`Self::options`], for a user of the master.
    pub(crate) fn options_for(&self, user: &str, password: &str) -> BrokerOptions {
        let options = self.options();
        BrokerOptions {
            sentinel: options.sentinel.map(|sentinel| SentinelOptions {
                username: user.to_owned(),
                password: password.to_owned(),
                ..sentinel
            }),
            ..options
        }
    }

    /// Returns the port of the server that the Sentinels name.
    pub(crate) fn named_port(&self) -> u16 {
        let sentinel = &self.sentinels[0];
        match sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]) {
            Value::Array(place) => match &place[..] {
                [_, Value::BulkString(port)] => String::from_utf8_lossy(port).parse().unwrap(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Makes all Sentinels watch another master, although the former one is alive.
    pub(crate) fn name_another(&self, port: u16) {
        for sentinel in &self.sentinels {
            sentinel.command(&["SENTINEL", "REMOVE", NAME]);
            sentinel.command(&["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port.to_string(), "2"]);
        }
    }
}

impl ClusterGroup {
    pub(crate) fn start() -> Self {
        let servers: Vec<_> = (0..2 * MASTERS).map(|_| start_node()).collect();
        let group = Self { servers };
        let first = group.servers[0].port().to_string();
        for (number, server) in group.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < MASTERS {
                let slots: Vec<String> = (SLOTS * number / MASTERS..SLOTS * (number + 1) / MASTERS)
                    .map(|slot| slot.to_string())
                    .collect();
                let slots = slots.iter().map(String::as_str);
                server.command(
                    &["CLUSTER", "ADDSLOTS"]
                        .into_iter()
                        .chain(slots)
                        .collect::<Vec<_>>(),
                );
            }
            if number > 0 {
                server.command(&["CLUSTER", "MEET", "127.0.0.1", &first]);
            }
        }
        for server in &group.servers {
            wait("all have met", || {
                let nodes = text(server, &["CLUSTER", "NODES"]);
                nodes.lines().count() == 2 * MASTERS && !nodes.contains("handshake")
            });
        }
        for (number, server) in group.servers[MASTERS..].iter().enumerate() {
            let master = text(&group.servers[number], &["CLUSTER", "MYID"]);
            server.command(&["CLUSTER", "REPLICATE", &master]);
        }
        for (number, server) in group.servers.iter().enumerate() {
            wait("the Cluster is whole", || {
                let nodes = text(server, &["CLUSTER", "NODES"]);
                let in_step = number < MASTERS
                    || text(server, &["INFO", "replication"]).contains("master_link_status:up");
                in_step
                    && nodes.matches("slave ").count() == MASTERS
                    && text(server, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
            });
        }
        group
    }

    pub(crate) fn options(&self) -> BrokerOptions {
        BrokerOptions {
            cluster: self.servers[..MASTERS].iter().map(RedisServer::url).collect(),
            ..BrokerOptions::default()
        }
    }

    /// Returns the number of the server that has `key`.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let answer = self
            .servers
            .iter()
            .position(|server| server.try_command(&["GET", key]).is_ok());
        answer.expect("a server has the slot")
    }
}

/// Starts a node of a Cluster. Its port and that of the Cluster bus are free, and outside the range of the system's ephemeral ports.
fn start_node() -> RedisServer {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = std::iter::repeat_with(|| rand::rng().random_range(11_000..22_000))
        .find(|port| is_free(port) && is_free(&(port + 10_000)))
        .unwrap();
    let own = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--cluster-replica-validity-factor",
        "0",
    ];
    RedisServer::start_as(port, None, &[REPLICATION, &own].concat())
}

/// Returns the group that tests share. Starts it if no test uses it now.
fn shared<G>(group: &Mutex<Weak<G>>, start: impl FnOnce() -> G) -> Arc<G> {
    let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
    group.upgrade().unwrap_or_else(|| {
        let started = Arc::new(start());
        *group = Arc::downgrade(&started);
        started
    })
}

pub(crate) fn shared_sentinels() -> Arc<SentinelGroup> {
    static GROUP: Mutex<Weak<SentinelGroup>> = Mutex::new(Weak::new());
    shared(&GROUP, SentinelGroup::start)
}

pub(crate) fn shared_cluster() -> Arc<ClusterGroup> {
    static GROUP: Mutex<Weak<ClusterGroup>> = Mutex::new(Weak::new());
    shared(&GROUP, ClusterGroup::start)
}

/// Returns the text of a server's answer, empty for an error.
pub(crate) fn text(server: &RedisServer, words: &[&str]) -> String {
    match server.try_command(words) {
        Ok(Value::BulkString(text)) => String::from_utf8(text).unwrap(),
        Ok(Value::VerbatimString { text, .. } | Value::SimpleString(text)) => text,
        _ => String::new(),
    }
}

pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not within 30 seconds: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
