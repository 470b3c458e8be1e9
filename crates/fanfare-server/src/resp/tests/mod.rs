#![allow(clippy::unwrap_used)]

mod life;
mod publishing;
mod transcripts;

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fanfare_core::{Audience, BoxFuture, Channel, Event, Reach, Receipt, UserId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::timeout,
};

use super::{DoorOptions, Host, Login, RedisDoor, serve};
use crate::auth::Credentials;

/// A message as backends publish it.
const BODY: &str = r#"{"type":"t","payload":1}"#;

/// Stores the publications of each call. An event reaches as many connections as its user's id says.
#[derive(Default)]
struct FakeHost {
    published: Mutex<Vec<Vec<String>>>,
    received: AtomicU64,
    rejected: AtomicU64,
    /// Whether the key `key` exists.
    needs_key: AtomicBool,
}

impl Host for FakeHost {
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>> {
        let user = |event: &Event| match &event.audience {
            Audience::User(user) => user.to_string(),
            _ => String::new(),
        };
        let users: Vec<String> = events.iter().map(user).collect();
        let receipts = users.iter().map(|user| Receipt {
            reach: Reach {
                queued: user.parse().unwrap_or(0),
                ..Reach::default()
            },
            ..Receipt::default()
        });
        let receipts = receipts.collect();
        self.published.lock().unwrap().push(users);
        Box::pin(async { receipts })
    }

    fn received(&self, publications: u64) {
        self.received.fetch_add(publications, Relaxed);
    }

    fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    fn audiences(&self) -> Vec<Audience> {
        let channels = ["chat.general", "notifications", "fanfare:odd"];
        let channels = channels.map(|name| Audience::Channel(Channel::new(name).unwrap()));
        let users = ["1", "2", "ann"].map(|user| Audience::User(UserId::new(user).unwrap()));
        let everyone = [Audience::Everyone];
        everyone.into_iter().chain(users).chain(channels).collect()
    }

    fn listeners(&self, channel: &str) -> u64 {
        match channel {
            "user_noti:ann" => 3,
            "fanfare:events" => 7,
            _ => 0,
        }
    }

    fn patterns(&self) -> u64 {
        5
    }

    fn needs_key(&self) -> bool {
        self.needs_key.load(Relaxed)
    }

    fn holds_key(&self, secret: &[u8]) -> bool {
        self.needs_key() && secret == b"key"
    }
}

/// A door with its host and its clients.
struct House {
    host: Arc<FakeHost>,
    door: Arc<RedisDoor>,
}

/// The first of `secrets` is the password, the others are API keys.
fn house(secrets: &[&str], change: impl FnOnce(&mut DoorOptions)) -> House {
    let host = Arc::<FakeHost>::default();
    let mut options = DoorOptions {
        host: host.clone(),
        max_message: 8 << 20,
        port: 6379,
        command_timeout: Duration::from_secs(60),
    };
    change(&mut options);
    let login = login(secrets, Duration::from_secs(10));
    House {
        host,
        door: Arc::new(RedisDoor::new(options, login)),
    }
}

/// The first of `secrets` is the password, the others are API keys.
fn login(secrets: &[&str], timeout: Duration) -> Login {
    Login {
        password: Credentials::new(secrets.first().copied()),
        keys: Credentials::new(secrets.iter().skip(1).copied()),
        timeout,
    }
}

/// A peer of the door.
struct Peer {
    stream: DuplexStream,
    task: JoinHandle<()>,
}

impl House {
    fn connect(&self) -> Peer {
        self.connect_until(std::future::pending())
    }

    fn connect_until(&self, shutdown: impl Future<Output = ()> + Send + 'static) -> Peer {
        let (stream, served) = tokio::io::duplex(1 << 20);
        let door = Arc::clone(&self.door);
        let peer = SocketAddr::from(([192, 0, 2, 1], 1234));
        let task = tokio::spawn(async move { serve(served, peer, &door, shutdown).await });
        Peer { stream, task }
    }

    /// Returns the door's replies to `sent`, up to the end of the connection.
    async fn answer(&self, sent: impl AsRef<[u8]>) -> String {
        let mut peer = self.connect();
        peer.stream.write_all(sent.as_ref()).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        peer.rest().await
    }

    /// Returns the publications of each call.
    fn published(&self) -> Vec<Vec<String>> {
        self.host.published.lock().unwrap().clone()
    }
}

impl Peer {
    /// Sends `sent` and reads exactly `expected`.
    async fn expect(&mut self, sent: &str, expected: &str) {
        self.stream.write_all(sent.as_bytes()).await.unwrap();
        let mut got = vec![0; expected.len()];
        let read = self.stream.read_exact(&mut got);
        timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&got), expected, "{sent}");
    }

    /// Returns all replies until the door closes the connection.
    async fn rest(mut self) -> String {
        let mut got = Vec::new();
        let read = self.stream.read_to_end(&mut got);
        timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        timeout(Duration::from_secs(10), self.task)
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(got).unwrap()
    }
}

/// Returns a request in the form that clients send.
fn request(arguments: &[&str]) -> String {
    let mut request = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        write!(request, "${}\r\n{argument}\r\n", argument.len()).unwrap();
    }
    request
}
