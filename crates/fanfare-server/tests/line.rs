//! A whole server with the sixth dialect, which only the tests have (`fanfare-dialects/tests/line`): real listeners, two shards, the
//! embedded broker, and WebSocket clients of another maker. Nothing of the server names the dialect.

#![allow(clippy::unwrap_used)]

#[path = "../../fanfare-dialects/tests/line/mod.rs"]
mod line;

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fanfare_accounts::{Accounts, AccountsOptions, mint::mint, storage::Storage};
use fanfare_core::{
    DialectKind, Options, Registry,
    policy::{AccessControl, KnownNames, Policy, PolicyOptions, RoomAccess},
};
use fanfare_engine::{
    Clock, DialectSettings, MAX_FAN_OUT_RECEIVERS, Mounting, Node, NodeOptions, ObserveLimits, Pace, Shard,
    ShardHandle,
};
use fanfare_server::{
    auth::{Credentials, Gate, TokenRules, Verifier, VerifierOptions},
    config::{self, Sources, Visibility},
    http::{self, AllowedOrigins, Door, RateLimits, Readiness, ReloadHandle, Site, SiteOptions, SiteRules},
};
use fanfare_transports::{BrokerKind, BrokerOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::LocalSet, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

const SECRET: &[u8] = b"a secret that is long enough for HS256";
const SHARDS: usize = 2;
/// A condition that is not met by then is not going to be.
const PATIENCE: Duration = Duration::from_secs(30);

/// The registry of such a build.
static REGISTRY: Registry = Registry::new(&[&line::KIND, &EVERYWHERE], &[]);

/// A running server; its threads end with the test's process.
struct Server {
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Server {
    async fn start() -> Self {
        let gate = gate();
        let node = node(gate.clone());
        let broker =
            fanfare_transports::open(BrokerKind::Memory, &BrokerOptions::default(), node.clone()).unwrap();
        let (handles, commands): (Vec<_>, Vec<_>) = (0..SHARDS).map(|_| ShardHandle::channel()).unzip();
        node.attach(handles, broker);
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(&folder).await;
        let site = Site::new(
            node.clone(),
            gate,
            node.dialects.clone(),
            REGISTRY,
            options(accounts, address),
        );
        for (number, commands) in commands.into_iter().enumerate() {
            let (node, site, listener) = (node.clone(), site.clone(), listener.try_clone().unwrap());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                LocalSet::new().block_on(&runtime.unwrap(), async {
                    let (shard, pace): (Rc<Shard>, _) = (Shard::new(number, node), Pace::new(16));
                    tokio::task::spawn_local(pace.clone().run());
                    tokio::task::spawn_local(http::serve(listener, Door::Http(site), shard.clone(), pace));
                    shard.run(commands).await;
                });
            });
        }
        Self {
            address,
            _folder: folder,
        }
    }

    async fn connect(&self, path: &str, user: &str) -> Client {
        let token = token(user, &json!({}), 600);
        let url = format!("ws://{}{path}?token={token}", self.address);
        Client(connect_async(url).await.unwrap().0)
    }
}

impl Client {
    async fn next(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a message in time");
            match message.unwrap().unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    async fn hears(&mut self, text: &str) {
        assert_eq!(self.next().await, Message::text(text));
    }

    async fn receives(&mut self, channel: &str, data: &Value) {
        assert_eq!(self.next().await, Message::binary(format!("{channel}\0{data}")));
    }

    async fn says(&mut self, line: &str, reply: &str) {
        self.0.send(Message::text(line)).await.unwrap();
        self.hears(reply).await;
    }
}

fn gate() -> Arc<Gate> {
    let verifier = Verifier::new(VerifierOptions {
        hmac_secrets: vec![SECRET.into()],
        ..VerifierOptions::default()
    });
    Arc::new(Gate::new(TokenRules::new(
        Arc::new(verifier.unwrap()),
        Vec::new(),
        100,
    )))
}

fn node(gate: Arc<Gate>) -> Arc<Node> {
    Node::new(NodeOptions {
        dialects: REGISTRY
            .iter()
            .map(|kind| Mounting {
                kind,
                dialect: (kind.open)(&Options::default()),
                settings: settings(),
            })
            .collect(),
        authenticator: gate,
        access: AccessControl::new(
            Policy::new(PolicyOptions {
                rooms: RoomAccess::Nobody,
                names: KnownNames {
                    rooms: line::KIND.rooms.to_vec(),
                    feed: None,
                },
                ..PolicyOptions::default()
            }),
            None,
        ),
        clock: Clock::system(),
        observe: ObserveLimits::default(),
        max_fan_out_receivers: MAX_FAN_OUT_RECEIVERS,
    })
}

/// The same dialect at any path of one segment.
static EVERYWHERE: DialectKind = DialectKind {
    name: "everywhere",
    path: "/{app}",
    rooms: &[],
    ..line::KIND
};

async fn accounts(folder: &tempfile::TempDir) -> Accounts {
    let url = format!("sqlite://{}", folder.path().join("accounts.db").display());
    let accounts = Accounts::new(
        Storage::new(&url.parse().unwrap(), 1).unwrap(),
        AccountsOptions::default(),
    );
    accounts.storage().prepare().await.unwrap();
    accounts.reload().await.unwrap();
    accounts
}

fn settings() -> DialectSettings {
    DialectSettings {
        max_connections: 100,
        max_connections_per_ip: 0,
        max_connections_per_user: 0,
        max_subscriptions: 100,
        max_messages_per_second: 0,
        message_burst: 0,
        max_message_size: 4096,
        max_fragments: 10,
        send_queue: 256,
        send_queue_size: 1 << 20,
        ping_interval: Duration::from_secs(30),
        ping_timeout: Duration::from_secs(60),
        compression: false,
        compression_threshold: 512,
    }
}

fn options(accounts: Accounts, address: SocketAddr) -> SiteOptions {
    SiteOptions {
        accounts,
        address,
        shutdown_timeout: PATIENCE,
        prefix: String::new(),
        origins: AllowedOrigins::new(&[]),
        trust_loopback: false,
        reload: ReloadHandle::channel().0,
        readiness: Readiness::new(Duration::ZERO),
        upkeep: Arc::default(),
        rules: ArcSwap::from_pointee(SiteRules {
            log_level: "info",
            trusted_proxies: Vec::new(),
            rate_limits: RateLimits::new(0, 0, 0),
            api_keys: Credentials::new(["key"]),
            metrics: Visibility::Open,
            docs: Visibility::Open,
            admin: Visibility::Open,
            handshake_timeout: PATIENCE,
            request_timeout: PATIENCE,
            keep_alive_timeout: PATIENCE,
            max_header_size: 16 << 10,
            max_body_size: 1 << 20,
            tls: None,
        }),
    }
}

fn token(user: &str, claims: &Value, seconds: u64) -> String {
    let claims = claims.as_object().unwrap();
    mint(
        SECRET,
        user,
        Duration::from_secs(seconds),
        claims,
        SystemTime::now(),
    )
}

#[tokio::test]
async fn clients_publish_to_each_other_and_not_to_themselves() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for user in ["ann", "bob", "cem", "dee"] {
        let mut client = server.connect("/line/demo", user).await;
        client.says("SUB a.b", "OK SUB a.b").await;
        clients.push(client);
    }
    for at in 0..clients.len() {
        clients[at].says("PUB a.b hello you", "OK PUB a.b").await;
        for (_, other) in clients.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            other.receives("a.b", &json!("hello you")).await;
        }
    }
    // Nothing else was sent to any of them.
    for client in &mut clients {
        client.says("UNSUB a.b", "OK UNSUB a.b").await;
    }
}

#[tokio::test]
async fn a_token_opens_a_room_and_joining_lists_its_members() {
    let server = Server::start().await;
    let mut ann = server.connect("/line/demo", "ann").await;
    ann.says("SUB room:1", "ERR SUB room:1 forbidden").await;
    let mine = token("ann", &json!({ "rooms": ["room:1"] }), 600);
    let theirs = token("bob", &json!({ "rooms": ["room:1"] }), 600);
    ann.says(&format!("SUB room:1 {theirs}"), "ERR SUB room:1 other_user")
        .await;
    ann.says(&format!("SUB room:2 {mine}"), "ERR SUB room:2 forbidden")
        .await;
    ann.says(&format!("SUB room:1 {mine}"), "OK SUB room:1").await;

    let enter = async |user: &str, members: &str| {
        let token = token(user, &json!({ "rooms": ["room:*"] }), 600);
        let url = format!("ws://{}/line/demo?token={token}", server.address);
        let mut client = Client(connect_async(url).await.unwrap().0);
        client
            .says("JOIN room:1", &format!("OK JOIN room:1 {members}"))
            .await;
        client.receives("room:1", &json!(format!("+{user}"))).await;
        client
    };
    let mut bob = enter("bob", "bob").await;
    let mut cem = enter("cem", "bob cem").await;
    bob.receives("room:1", &json!("+cem")).await;
    for joined in ["+bob", "+cem"] {
        ann.receives("room:1", &json!(joined)).await;
    }
    cem.says("LEAVE room:1", "OK LEAVE room:1").await;
    for stays in [&mut ann, &mut bob] {
        stays.receives("room:1", &json!("-cem")).await;
    }
}

#[tokio::test]
async fn a_subscription_ends_with_its_token() {
    let server = Server::start().await;
    let mut ann = server.connect("/line/demo", "ann").await;
    let short = token("ann", &json!({ "rooms": ["room:1"] }), 2);
    ann.says(&format!("SUB room:1 {short}"), "OK SUB room:1").await;
    ann.hears("GONE room:1").await;
    ann.says(
        &format!("SUB room:1 {short}"),
        "ERR SUB room:1 expired_credential",
    )
    .await;
}

#[tokio::test]
async fn routes_have_parameters_a_query_and_headers() {
    let server = Server::start().await;
    let mut ann = server.connect("/line/demo", "ann").await;
    ann.says("SUB news.today", "OK SUB news.today").await;
    let web = reqwest::Client::new();
    let post = async |path: &str, key: &str| {
        let request = web.post(format!("http://{}{path}", server.address));
        let request = request
            .bearer_auth(key)
            .header("X-Sender", "press")
            .body(r#"{"x":1.0}"#);
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let reached = (200, r#"{"reached":1}"#.to_owned());
    assert_eq!(post("/line/demo/news.today?type=t", "key").await, reached);
    assert_eq!(ann.next().await, Message::binary("news.today\0{\"x\":1.0}"));
    assert_eq!(post("/line/other/news.today", "key").await.0, 404);
    assert_eq!(post("/line/demo/news.today", "wrong").await.0, 401);
    assert_eq!(post("/line/demo/news/today", "key").await.0, 404);
}

#[tokio::test]
async fn the_servers_own_routes_take_precedence_over_paths_with_parameters() {
    let server = Server::start().await;
    let status = async |path: &str| {
        let reply = reqwest::get(format!("http://{}{path}", server.address)).await;
        reply.unwrap().status().as_u16()
    };
    server
        .connect("/demo", "ann")
        .await
        .says("SUB a.b", "OK SUB a.b")
        .await;
    assert_eq!(status("/demo").await, 426);
    for (path, expected) in [("/sessions", 401), ("/livez", 200), ("/docs", 200)] {
        assert_eq!(status(path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn the_path_decides_which_clients_are_admitted() {
    let server = Server::start().await;
    let Message::Close(Some(close)) = server.connect("/line/other", "ann").await.next().await else {
        panic!("a close frame")
    };
    assert_eq!((u16::from(close.code), &*close.reason), (4000, "forbidden"));
    for path in ["/other/", "/line/", "/line/demo/"] {
        let url = format!("ws://{}{path}", server.address);
        assert!(connect_async(url).await.is_err(), "{path}");
    }
}

/// A new dialect is a line in the registry: the configuration, its documents and the command line follow.
#[test]
fn the_registry_determines_the_configuration() {
    static LINE: Registry = Registry::new(&[&line::KIND], &[]);
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let sources = Sources {
        env: vec![set("FANFARE_LINE_MAX_CONNECTIONS", "7")],
        overrides: vec![set(
            "listener",
            "[{ bind = \"127.0.0.1:0\", dialects = [\"line\"] }]",
        )],
        ..Sources::default()
    };
    let loaded = config::load(&sources, LINE).unwrap();
    assert_eq!(loaded.config.dialects["line"].max_connections, 7);
    assert_eq!(loaded.config.listener[0].dialects, ["line"]);
    let shown = config::show(&loaded);
    assert!(
        shown.contains("[line]\nmax_connections = 7 # environment"),
        "{shown}"
    );
    assert!(config::load(&sources, Registry::default()).is_err());
}
