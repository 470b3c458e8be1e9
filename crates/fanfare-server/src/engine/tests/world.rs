//! A node with one shard, clients on loopback sockets, and a dialect that does what a test needs.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use fanfare_brokers::{BrokerOptions, open};
use fanfare_core::{
    About, Audience, Context, Conversation, Dialect, DialectDefaults, DialectFacts, DialectKind, Ending,
    Event, Handshake, Hearing, Hears, Identity, Inbound, JsonMap, Message, NodeFacts, Offer, Options,
    RawJson, Receipt, Refusal, Rejection, Step, Steps, UserId, policy::Policy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use uuid::Uuid;

use crate::{
    auth::{Gate, Verifier, VerifierOptions},
    engine::{
        Admission, DialectSettings, Mounting, Newcomer, Node, NodeOptions, Seat, Shard, ShardHandle,
        Transport,
    },
    ws::{Opcode, encode},
};

/// Shows an event's data as it is, echoes text, and fails on demand.
pub(super) struct Plain;

impl DialectKind for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }
    fn path(&self) -> &'static str {
        "/"
    }
    fn summary(&self) -> &'static str {
        ""
    }
    fn defaults(&self) -> DialectDefaults {
        DialectDefaults::default()
    }
    fn open(&self, _options: &Options) -> Arc<dyn Dialect> {
        Arc::new(Plain)
    }
}

impl Dialect for Plain {
    fn offer<'a>(&self, _handshake: &Handshake<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }
    fn refuse(&self, _refusal: Refusal, _about: &About<'_>) -> Rejection {
        Rejection::http(503, "")
    }
    fn end(&self, ending: Ending) -> (u16, &'static str) {
        let failed = ending == Ending::InternalError;
        (if failed { 1011 } else { 1008 }, ending.label())
    }
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Talk)
    }
    fn hears(&self) -> Hearing {
        Hearing {
            user: Hears::Always,
            everyone: Hears::Always,
        }
    }
    fn render(&self, event: &Event) -> Option<Bytes> {
        assert!(event.kind.as_deref() != Some("panic"), "asked to");
        (event.kind.as_deref() != Some("hidden")).then(|| event.data.bytes().clone())
    }
    fn health(&self, _node: &NodeFacts<'_>, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }
    fn metrics(&self, _node: &NodeFacts<'_>, _own: &DialectFacts) -> JsonMap {
        JsonMap::new()
    }
}

struct Talk;

impl Conversation for Talk {
    fn received(&mut self, message: Message<'_>, _context: &Context<'_>, steps: &mut Steps) {
        let Message::Text(text) = message else { return };
        assert!(text != "panic", "asked to");
        steps.push(Step::SendText(Bytes::copy_from_slice(text.as_bytes())));
    }
}

/// What tokens are signed with.
pub(super) const SECRET: &[u8] = b"a secret that is long enough for HS256";

/// A node with one shard that runs on this thread.
pub(super) struct World {
    pub(super) node: Arc<Node>,
    pub(super) shard: Rc<Shard>,
}

/// Defaults small enough to reach.
pub(in crate::engine) fn settings() -> DialectSettings {
    DialectSettings {
        max_connections: 10,
        max_connections_per_ip: 0,
        max_connections_per_user: 0,
        max_subscriptions: 10,
        max_messages_per_second: 0,
        message_burst: 0,
        max_message_size: 1000,
        max_fragments: 10,
        send_queue: 256,
        send_queue_size: 1 << 20,
        ping_interval: Duration::from_secs(30),
        ping_timeout: Duration::from_secs(60),
        compression: false,
        compression_threshold: 512,
    }
}

/// Runs `test` in a world with these settings.
pub(super) fn in_world<F: Future<Output = ()>>(settings: DialectSettings, test: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let secret = VerifierOptions {
            hmac_secret: Some(SECRET.into()),
            ..VerifierOptions::default()
        };
        let verifier = Arc::new(Verifier::new(secret).unwrap());
        let node = Node::new(NodeOptions {
            dialects: vec![Mounting {
                kind: &Plain,
                dialect: Arc::new(Plain),
                settings,
            }],
            gate: Arc::new(Gate::new(verifier, Vec::new())),
            policy: Policy::default(),
            authorizer: None,
        });
        let (handle, commands) = ShardHandle::channel();
        let inbound: Arc<dyn Inbound> = node.clone();
        node.attach(
            vec![handle],
            open("memory", &BrokerOptions::default(), inbound).unwrap(),
        );
        let shard = Shard::new(0, node.clone());
        tokio::task::spawn_local(shard.clone().run(commands));
        tokio::time::timeout(Duration::from_secs(30), test(World { node, shard }))
            .await
            .expect("in time");
    });
}

impl World {
    pub(super) async fn reserve(&self, user: &str, lives: Duration) -> Result<Seat, Refusal> {
        let address: IpAddr = [127, 0, 0, 1].into();
        let admission = Admission::take(&self.node.dialects[0], address, None)?;
        let user = UserId::new(user).unwrap();
        let identity = Some(Identity::new(user, SystemTime::now() + lives));
        self.shard
            .reserve(Newcomer {
                admission,
                identity: identity.map(Arc::new),
                id: Uuid::now_v7(),
                address,
                user_agent: None,
                successor: None,
                deflate: None,
            })
            .await
    }

    /// A connection of `user`, served, and its client's socket.
    pub(super) async fn connect(&self, user: &str) -> Client {
        let seat = self.reserve(user, Duration::from_secs(3600)).await.unwrap();
        let (client, server) = sockets().await;
        seat.serve(Transport::Plain(server), &[]);
        client
    }

    pub(super) async fn publish(&self, user: &str, kind: &str, data: &str) -> Receipt {
        self.publish_all(vec![event(user, kind, data)]).await[0]
    }

    pub(super) async fn publish_all(&self, events: Vec<Event>) -> Vec<Receipt> {
        self.node.publish(events).await
    }

    /// Waits until the node holds that many connections.
    pub(super) async fn held(&self, count: usize) {
        while self.shard.len() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) fn event(user: &str, kind: &str, data: &str) -> Event {
    let audience = match user {
        "*" => Audience::Everyone,
        user => Audience::User(UserId::new(user).unwrap()),
    };
    let data = RawJson::parse(&Bytes::copy_from_slice(data.as_bytes())).unwrap();
    Event::new(audience, Some(kind), data, SystemTime::now())
}

/// Two ends of a connection: the client's and the server's.
pub(super) async fn sockets() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Client(client), listener.accept().await.unwrap().0)
}

/// A client that reads frames one by one.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) async fn say(&mut self, text: &str) {
        self.0
            .write_all(&encode::masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]))
            .await
            .unwrap();
    }

    /// The next frame's opcode and payload; `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await.ok()?;
        let length = match head[1] {
            126 => usize::from(self.0.read_u16().await.ok()?),
            127 => usize::try_from(self.0.read_u64().await.ok()?).ok()?,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[0] & 0x0f, payload))
    }

    /// The next text message.
    pub(super) async fn text(&mut self) -> String {
        let (opcode, payload) = self.frame().await.expect("a frame");
        assert_eq!(opcode, 1, "a text frame");
        String::from_utf8(payload).unwrap()
    }

    /// Reads up to the close frame: its code and reason.
    pub(super) async fn close(&mut self) -> (u16, String) {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == 8 {
                return (
                    u16::from_be_bytes([payload[0], payload[1]]),
                    String::from_utf8(payload[2..].to_vec()).unwrap(),
                );
            }
        }
        panic!("the stream ended without a close frame")
    }
}
