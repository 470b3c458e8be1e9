//! The laws of recording plain `PUBLISH`, for each kind of Redis, and helpers for further tests.

use std::{sync::atomic::Ordering, time::Duration};

use fanfare_core::{
    Event, UserId,
    history::{Cursor, Unrecovered},
    journal::{ReplayFrom, ReplayScope},
};
use fanfare_transports::BrokerKind;
use redis::Value;

use crate::{
    harness::{Cluster, Node, channel, eventually, reach_each_other, to_channel},
    history::{data, kept, position, present, read, scope},
    server::RedisServer,
};

pub(crate) const CHANNEL: &str = "chat.a";

/// The server that backends publish on, and the prefix and the slot in all names.
#[derive(Clone, Copy)]
pub(crate) struct Backend<'a> {
    server: &'a RedisServer,
    prefix: &'a str,
    /// A part of every key.
    slot: &'static str,
}

impl<'a> Backend<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let (server, prefix, slot) = match cluster {
            Cluster::Redis(server) => (server, "", ""),
            Cluster::Sentinel(shared) => (&shared.group.servers[0], &*shared.prefix, ""),
            Cluster::Sharded(shared) => {
                let owner = shared.group.owner("{fanfare}");
                (&shared.group.servers[owner], &*shared.prefix, "{fanfare}")
            }
            Cluster::Memory | Cluster::Nats(_) => panic!("backends publish past all nodes on Redis alone"),
        };
        Self { server, prefix, slot }
    }

    fn publish(&self, name: &str, message: &str) {
        let name = format!("{}{name}", self.prefix);
        self.server.command(&["PUBLISH", &name, message]);
    }

    /// Returns a field of a hash of the journal; 0 if there is none.
    fn field(&self, key: &str, name: &str) -> String {
        let key = format!("{}fanfare:journal:{}{key}", self.prefix, self.slot);
        let value = self.server.command(&["HGET", &key, name]);
        redis::from_redis_value(value).unwrap_or_else(|_| "0".to_owned())
    }
}

impl<'a> From<&'a RedisServer> for Backend<'a> {
    fn from(server: &'a RedisServer) -> Self {
        Self {
            server,
            prefix: "",
            slot: "",
        }
    }
}

/// Returns a node that receives the channel, which has history.
async fn receiving(cluster: &Cluster, id: &str) -> Node {
    let (kind, options) = cluster.options();
    receives(Node::open_by(kind, &options, id)).await
}

/// As [`receiving`], on the server of this URL.
pub(crate) async fn node(url: &str, id: &str) -> Node {
    receives(Node::open(BrokerKind::Redis, url, id)).await
}

async fn receives(node: Node) -> Node {
    node.inbound.keeps.store(true, Ordering::SeqCst);
    node.ready().await;
    node.hold_interest(channel(CHANNEL), 1).await;
    node
}

/// Returns a field of the recorder's lease.
pub(crate) fn field<'a>(backend: impl Into<Backend<'a>>, name: &str) -> String {
    backend.into().field("recorder", name)
}

/// Waits until there is a recorder and, with `with_standby`, a standby that can take over from it.
pub(crate) async fn elected<'a>(backend: impl Into<Backend<'a>>, with_standby: bool) {
    let backend = backend.into();
    let field = |name: &str| backend.field("recorder", name);
    let number = |name: &str| field(name).parse::<u64>().unwrap();
    eventually("a recorder is elected", async || {
        let is_whole = || field("standby") != "0" && number("settled") >= number("since");
        field("holder") != "0" && (!with_standby || is_whole())
    })
    .await;
}

/// Publishes numbers on the channel.
pub(crate) fn publish<'a>(backend: impl Into<Backend<'a>>, numbers: impl IntoIterator<Item = u32>) {
    let Backend { server, prefix, .. } = backend.into();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for number in numbers {
        let message = format!(r#"{{"type":"test","payload":{number}}}"#);
        let command = redis::cmd("PUBLISH")
            .arg(format!("{prefix}fanfare:channel:{CHANNEL}"))
            .arg(message)
            .to_owned();
        command.query::<Value>(&mut connection).unwrap();
    }
}

pub(crate) async fn after(node: &Node, cursor: Cursor) -> Result<Vec<String>, Unrecovered> {
    let replay = read(node, scope(&[CHANNEL], &[]), ReplayFrom::After(cursor)).await;
    match replay.unrecovered {
        Some(reason) => Err(reason),
        None => Ok(data(&replay).into_iter().map(str::to_owned).collect()),
    }
}

pub(crate) fn texts(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

pub(crate) async fn arrived(node: &Node, count: usize) -> Vec<Event> {
    eventually("all have arrived", async || {
        node.inbound.delivered().len() >= count
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    node.inbound.delivered()
}

pub(crate) async fn events_of_backends_are_kept_and_delivered_once(cluster: &Cluster) {
    let nodes = [receiving(cluster, "a").await, receiving(cluster, "b").await];
    for node in &nodes {
        node.hold("alice", 1).await;
    }
    reach_each_other(&nodes).await;
    let backend = Backend::of(cluster);
    elected(backend, true).await;
    let start = present(&nodes[1]).await;
    let id = r#"{"to":{"channel":"chat.a"},"type":"test","data":6,"id":"order-6"}"#;
    for (name, message) in [
        (
            "fanfare:channel:chat.a",
            r#"{"type":"test","payload":1,"metadata":{"a":1},"sender":"shop"}"#,
        ),
        ("fanfare:channel:chat.a", r#"["no",{"type":"at all"}]"#),
        ("user_noti:alice", r#"{"type":"test","payload":3}"#),
        ("fanfare:everyone", r#"{"type":"test","payload":4}"#),
        (
            "fanfare:events",
            r#"[{"to":{"user":"alice"},"data":5},{"to":{"channel":"unheard"},"data":"for none here"}]"#,
        ),
        ("fanfare:events", id),
        ("fanfare:events", id),
        ("fanfare:channel:chat.a", r#"{"type":"test","payload":7}"#),
        ("fanfare:channel:chat.a", r#"{"type":"test","payload":7}"#),
        ("fanfare:channel:unheard", r#"{"type":"test","payload":8}"#),
    ] {
        backend.publish(name, message);
    }
    let expected = ["1", r#"["no",{"type":"at all"}]"#, "3", "4", "5", "6", "7", "7"];
    let mut both = Vec::new();
    for node in &nodes {
        let seen = arrived(node, expected.len()).await;
        let seen: Vec<Event> = seen
            .into_iter()
            .filter(|event| event.data.as_str() != r#""for none here""#)
            .collect();
        assert_eq!(
            seen.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(),
            expected
        );
        both.push(
            seen.iter()
                .map(|event| (event.id, position(event), event.timestamp))
                .collect::<Vec<_>>(),
        );
        assert_eq!(seen[0].sender.as_ref().map(|sender| &*sender.id), Some("shop"));
        assert_eq!((&seen[1].kind, seen[1].metadata.is_some()), (&None, false));
    }
    assert_eq!(both[0], both[1], "the same events with the same cursors");
    let scope = ReplayScope {
        user: UserId::new("alice").ok(),
        everyone: true,
        ..scope(&[CHANNEL, "unheard"], &[])
    };
    let replay = read(&nodes[1], scope, ReplayFrom::After(start)).await;
    assert_eq!(replay.unrecovered, None);
    let mut all: Vec<&str> = expected.into();
    all.insert(5, r#""for none here""#);
    all.push("8");
    assert_eq!(data(&replay), all);
    let recorded: u64 = nodes
        .iter()
        .map(|node| node.broker.journal_figures().recorded)
        .sum();
    assert_eq!(recorded, 10);
    // No node waits for the copy of an event that it does not receive: it would give up, and raise the floor.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(backend.field("state", "floor"), "0", "no cursor has expired");
    // The recorder's and the standby's connections also receive events of nodes, and delay no receipt.
    let receipt = nodes[0].publish_one(kept(to_channel(CHANNEL, "9"), 10)).await;
    assert_eq!((receipt.nodes, receipt.degraded), (2, false));
}

pub(crate) async fn the_standby_of_a_recorder_that_dies_records_the_rest(cluster: &Cluster) {
    let backend = Backend::of(cluster);
    let recorder = receiving(cluster, "a").await;
    elected(backend, false).await;
    let other = receiving(cluster, "b").await;
    elected(backend, true).await;
    let start = present(&other).await;
    publish(backend, 0..50);
    drop(recorder);
    publish(backend, 50..100);
    let seen = arrived(&other, 100).await;
    assert_eq!(other.inbound.data(), texts(0..100));
    assert!(seen.iter().all(|event| event.history.position().is_some()));
    assert_eq!(after(&other, start).await, Ok(texts(0..100)));
    assert_eq!(
        after(&other, position(&seen[70]).cursor()).await,
        Ok(texts(71..100))
    );
}
