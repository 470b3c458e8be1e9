//! A connection that the server answers on, and that receives no published message.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fanfare_core::BrokerHealth;
use fanfare_transports::BrokerKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    harness::{Node, eventually, to_user},
    server::RedisServer,
};

/// Starts a proxy before `server`. Returns its URL, and a switch: the connections that are open when it is set receive no published message
/// any more.
pub(crate) async fn proxy(server: &RedisServer) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let deaf = Arc::new(AtomicBool::new(false));
    let (target, switch) = (server.address(), Arc::clone(&deaf));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = TcpStream::connect(&target).await.unwrap().into_split();
            let may_be_deaf = !switch.load(Ordering::SeqCst);
            tokio::spawn(pass(from_client, to_server, None));
            tokio::spawn(pass(
                from_server,
                to_client,
                may_be_deaf.then(|| Arc::clone(&switch)),
            ));
        }
    });
    (format!("redis://127.0.0.1:{port}"), deaf)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, deaf: Option<Arc<AtomicBool>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let part = &buffer[..count];
        let is_deaf = deaf.as_ref().is_some_and(|deaf| deaf.load(Ordering::SeqCst));
        if is_deaf && part.starts_with(b"*3\r\n$7\r\nmessage") {
            continue;
        }
        if to.write_all(part).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_receives_nothing_is_reopened() {
    let server = RedisServer::start();
    let (url, deaf) = proxy(&server).await;
    let (node, other) = (
        Node::open(BrokerKind::Redis, &url, "a"),
        Node::open(BrokerKind::Redis, &server.url(), "b"),
    );
    node.ready().await;
    other.ready().await;
    node.hold("alice", 1).await;
    assert_eq!(other.publish_one(to_user("alice", "1")).await.reach.queued, 1);

    deaf.store(true, Ordering::SeqCst);
    let health = node.broker.health().await;
    assert!(matches!(health, BrokerHealth::Disconnected { .. }), "{health:?}");
    assert!(node.broker.probe().await.is_err());
    node.ready().await;
    eventually("it receives again", async || {
        let receipt = other.publish_one(to_user("alice", "2")).await;
        receipt.reach.queued == 1 && !receipt.degraded
    })
    .await;
}
