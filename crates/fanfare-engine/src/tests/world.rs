//! A node whose shards all run on the test's thread, with clients on loopback sockets, and a check that it holds nothing at the end.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{
    Audience, Broker, Channel, Event, Identity, Inbound, Opening, PublishOptions, RawJson, Receipt, Refusal,
    UserId,
    history::{Cursor, Since},
    journal::{ReplayFrom, ReplayQuery, ReplayScope},
    policy::{AccessControl, Authorizer, KnownNames, Policy, PolicyOptions, Rule, RulePattern},
};
use serde_json::Value;
use tokio::task::LocalSet;
use uuid::Uuid;

pub(super) use super::client::{Client, in_memory, sockets};
use super::{
    fakes::{FakeAuthenticator, FakeAuthorizer, FakeBroker},
    pipe::Control,
    plain::{PLAIN, Plain},
};
use crate::{
    Admission, Clock, Conflict, ConnectionGuard, DialectSettings, Mounting, NewConnection, Node, NodeOptions,
    ObserveLimits, Shard, ShardHandle, clock::unix_millis,
};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// The default limits, small enough for tests to reach.
pub(crate) fn settings() -> DialectSettings {
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

/// The limit of a shard's fan-outs.
pub(super) const MAX_RECEIVERS: usize = 1 << 15;

/// The parts of a test's world.
pub(super) struct Setup {
    pub(super) settings: DialectSettings,
    /// The dialect of the path, and its guest.
    pub(super) dialects: Vec<Plain>,
    pub(super) policy: PolicyOptions,
    pub(super) authorizer: Option<Arc<FakeAuthorizer>>,
    pub(super) shards: usize,
    pub(super) observe: ObserveLimits,
    /// Whether clients have real sockets, and time is the machine's.
    pub(super) is_real: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: settings(),
            dialects: vec![Plain::default()],
            policy: rules(&[]),
            authorizer: None,
            shards: 1,
            observe: ObserveLimits::default(),
            is_real: false,
        }
    }
}

impl Setup {
    /// Returns a world with `authorizer`.
    pub(super) fn asking(authorizer: &Arc<FakeAuthorizer>) -> Self {
        Self {
            policy: PolicyOptions {
                authorizer: true,
                ..rules(&[])
            },
            authorizer: Some(authorizer.clone()),
            ..Self::default()
        }
    }

    /// Runs `test` in such a world, and checks that it leaves nothing behind.
    pub(super) fn run<F: Future<Output = ()>>(self, test: impl FnOnce(World) -> F) {
        // A paused clock advances to the next timer whenever no task is ready.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(!self.is_real)
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let world = self.build();
            let tested = async {
                test(world.clone()).await;
                world.leaves_nothing().await;
            };
            tokio::time::timeout(Duration::from_secs(30), tested)
                .await
                .expect("in time");
        });
    }

    fn build(self) -> World {
        let mounting = |dialect: Plain| Mounting {
            kind: &PLAIN,
            dialect: Arc::new(dialect),
            settings: self.settings.clone(),
        };
        let node = Node::new(NodeOptions {
            dialects: self.dialects.into_iter().map(mounting).collect(),
            authenticator: Arc::<FakeAuthenticator>::default(),
            access: AccessControl::new(
                Policy::new(self.policy),
                self.authorizer.clone().map(|own| own as Arc<dyn Authorizer>),
            ),
            clock: if self.is_real {
                Clock::system()
            } else {
                Clock::simulated()
            },
            observe: self.observe,
            max_fan_out_receivers: MAX_RECEIVERS,
        });
        let inbound: Arc<dyn Inbound> = node.clone();
        let broker = FakeBroker::new(inbound);
        let (handles, commands): (Vec<_>, Vec<_>) = (0..self.shards).map(|_| ShardHandle::channel()).unzip();
        node.attach(handles, broker.clone());
        let start = |(number, commands)| {
            let shard = Shard::new(number, node.clone());
            tokio::task::spawn_local(shard.clone().run(commands));
            shard
        };
        let shards: Vec<_> = commands.into_iter().enumerate().map(start).collect();
        World {
            shard: shards[0].clone(),
            shards,
            node,
            broker,
            authorizer: self.authorizer,
            is_real: self.is_real,
        }
    }
}

/// Runs `test` in a world with these settings.
pub(super) fn in_world<F: Future<Output = ()>>(settings: DialectSettings, test: impl FnOnce(World) -> F) {
    let setup = Setup {
        settings,
        ..Setup::default()
    };
    setup.run(test);
}

/// A node that runs on this thread.
#[derive(Clone)]
pub(super) struct World {
    pub(super) node: Arc<Node>,
    /// The first shard.
    pub(super) shard: Rc<Shard>,
    pub(super) shards: Vec<Rc<Shard>>,
    pub(super) broker: Arc<FakeBroker>,
    authorizer: Option<Arc<FakeAuthorizer>>,
    is_real: bool,
}

impl World {
    pub(super) async fn reserve(&self, user: &str, lives: Duration) -> Result<ConnectionGuard, Refusal> {
        self.reserve_on(0, who(user, lives)).await
    }

    pub(super) async fn reserve_on(
        &self,
        shard: usize,
        who: Option<Identity>,
    ) -> Result<ConnectionGuard, Refusal> {
        self.reserve_named(shard, who, None).await
    }

    /// The same with a name.
    pub(super) async fn reserve_named(
        &self,
        shard: usize,
        who: Option<Identity>,
        name: Option<&str>,
    ) -> Result<ConnectionGuard, Refusal> {
        self.reserve_asking((shard, None), who, name).await
    }

    /// The same, for a client that resumes.
    pub(super) async fn reserve_asking(
        &self,
        (shard, resume): (usize, Option<Since>),
        who: Option<Identity>,
        name: Option<&str>,
    ) -> Result<ConnectionGuard, Refusal> {
        let address: IpAddr = [127, 0, 0, 1].into();
        let admission = Admission::enter(&self.node, &self.node.dialects[0], address, name).await?;
        self.shards[shard]
            .reserve(NewConnection {
                admission,
                identity: who.map(Arc::new),
                id: Uuid::now_v7(),
                user_agent: None,
                guest: self.node.dialects.get(1).cloned(),
                framing: crate::Framing::WebSocket(None),
                opening: resume.map(|since| {
                    Box::new(Opening {
                        resume: Some(since),
                        ..Opening::default()
                    })
                }),
            })
            .await
    }

    /// Returns a connection of `user` that resumes in its handshake.
    pub(super) async fn connect_since(&self, user: &str, since: Since) -> Client {
        let guard = self
            .reserve_asking((0, Some(since)), who(user, AN_HOUR), None)
            .await;
        self.serve(guard).await
    }

    /// Returns the client of a new connection of `user`. The empty name is an anonymous user; `alice+staff` is alice with the
    /// role.
    pub(super) async fn connect(&self, user: &str) -> Client {
        self.connect_on(0, user).await
    }

    pub(super) async fn connect_on(&self, shard: usize, user: &str) -> Client {
        self.serve(self.reserve_on(shard, who(user, AN_HOUR)).await).await
    }

    /// The same, with a credential that expires.
    pub(super) async fn connect_for(&self, user: &str, lives: Duration) -> Client {
        self.serve(self.reserve(user, lives).await).await
    }

    /// The same, with control over the stream.
    pub(super) async fn connect_controlled(&self, user: &str) -> (Client, Control) {
        let (client, server, control) = in_memory();
        let guard = self.reserve(user, AN_HOUR).await;
        guard.unwrap().serve(server, &[]);
        (client, control)
    }

    /// Returns the present cursor of the journal.
    pub(super) fn present(&self) -> Cursor {
        let query = ReplayQuery {
            scope: ReplayScope::default(),
            from: ReplayFrom::Present,
            limit: 0,
        };
        self.broker.journal.read(&query).present.unwrap()
    }

    async fn serve(&self, guard: Result<ConnectionGuard, Refusal>) -> Client {
        let (client, server) = if self.is_real {
            sockets().await
        } else {
            let (client, server, _) = in_memory();
            (client, server)
        };
        guard.unwrap().serve(server, &[]);
        client
    }

    pub(super) async fn publish(&self, to: &str, kind: &str, data: &str) -> Receipt {
        self.publish_all(vec![event(to, kind, data)]).await[0]
    }

    pub(super) async fn publish_all(&self, events: Vec<Event>) -> Vec<Receipt> {
        let options = PublishOptions { receipt: true };
        self.node.publish(events, options, Conflict::Wait).await.unwrap()
    }

    /// Publishes on the channel, and returns the number of connections that received the event.
    pub(super) async fn publish_on(&self, channel: &str, data: &str) -> u64 {
        self.publish_all(vec![on(channel, data)]).await[0].reach.queued
    }

    /// Returns the number of connections of the first shard that wait for an answer, so that nothing is read from them.
    pub(super) fn waiting(&self) -> usize {
        let connections = self.shard.connections.borrow();
        connections
            .iter()
            .filter(|(_, driver)| driver.connection.is_waiting())
            .count()
    }

    /// Ends a login session on all nodes, and its connections on this one.
    pub(super) fn revoke(&self, session: &str) {
        self.node.terminate_session(session);
        self.node.end_revoked();
    }

    /// Waits until the first shard has `count` connections.
    pub(super) async fn held(&self, count: usize) {
        until(|| self.shard.len() == count).await;
    }

    /// Waits until the first shard holds live events back for a connection.
    pub(super) async fn holds_back(&self) {
        let is_any = |shard: &Shard| {
            let connections = shard.connections.borrow();
            connections.iter().any(|(_, own)| own.connection.is_holding())
        };
        until(|| is_any(&self.shard)).await;
    }

    /// Checks that the node holds nothing for clients that have disconnected.
    async fn leaves_nothing(&self) {
        self.broker.confirm();
        self.broker.carries.open();
        self.broker.grants.open();
        if let Some(authorizer) = &self.authorizer {
            authorizer.gate.open();
        }
        let is_idle = |shard: &Rc<Shard>| shard.is_empty() && shard.undecided.borrow().is_empty();
        until(|| self.shards.iter().all(is_idle)).await;
        for shard in &self.shards {
            let index = shard.directory.index();
            assert_eq!((index.subscriptions(), index.has_patterns()), (0, false));
            assert_eq!((index.channels(), index.patterns()), (0, 0));
        }
        // An interest that was requested for a connection that has ended is released when the answer arrives.
        until(|| self.broker.interests().is_empty()).await;
        let node = &self.node;
        assert_eq!((node.active(), node.users().len()), (0, 0));
        assert_eq!(
            (
                node.interests.channels_held(),
                node.interests.channel_subscriptions()
            ),
            (0, 0)
        );
        assert_eq!(node.interests.pattern_subscriptions(), 0);
        for shard in &self.shards {
            crate::sweep::leave_due(shard, u64::MAX);
        }
        self.has_rooms(0).await;
        until(|| self.broker.slots().is_empty()).await;
        assert!(self.shards.iter().all(|shard| shard.entries.borrow().is_empty()));
    }

    /// Waits until `count` rooms have members.
    pub(super) async fn has_rooms(&self, count: usize) {
        until(|| self.broker.rooms.rooms() == count).await;
    }
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn who(user: &str, lives: Duration) -> Option<Identity> {
    let (user, role) = user.split_once('+').unwrap_or((user, ""));
    let mut identity = Identity::new(UserId::new(user).ok()?, SystemTime::now() + lives);
    if !role.is_empty() {
        identity.roles = [role.into()].into();
    }
    Some(identity)
}

/// A token of `user`'s, for the seconds to come, which [`FakeAuthenticator`] reads.
pub(super) fn token(user: &str, seconds: u64, claims: &Value) -> String {
    let mut claims = claims.clone();
    claims["sub"] = user.into();
    claims["exp"] = unix_millis(SystemTime::now() + Duration::from_secs(seconds)).into();
    claims.to_string()
}

/// Returns rules, each with a pattern and the roles that may subscribe and publish.
pub(super) fn rules(rules: &[(&str, &str, &str)]) -> PolicyOptions {
    let rule = |(pattern, subscribe, publish): &(&str, &str, &str)| Rule {
        pattern: RulePattern::new(pattern).unwrap(),
        subscribe: Some(subscribe.parse().unwrap()),
        publish: Some(publish.parse().unwrap()),
        join: None,
        history: None,
    };
    PolicyOptions {
        rules: rules.iter().map(rule).collect(),
        names: KnownNames {
            rooms: vec!["project:", "channel:", "task:"],
            feed: Some("messages"),
        },
        ..PolicyOptions::default()
    }
}

/// Returns an event for a user, or for everyone (`*`).
pub(super) fn event(user: &str, kind: &str, data: &str) -> Event {
    let audience = match user {
        "*" => Audience::Everyone,
        user => Audience::User(UserId::new(user).unwrap()),
    };
    Event::new(audience, Some(kind), json(data), SystemTime::now())
}

/// Returns an event on a channel.
pub(super) fn on(channel: &str, data: &str) -> Event {
    let audience = Audience::Channel(Channel::new(channel).unwrap());
    Event::new(audience, None, json(data), SystemTime::now())
}

fn json(data: &str) -> RawJson {
    RawJson::parse(&Bytes::copy_from_slice(data.as_bytes())).unwrap()
}
