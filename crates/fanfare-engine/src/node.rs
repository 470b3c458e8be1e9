//! A node: the state that all of its shards share.

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fanfare_core::{
    Audience, BoxFuture, Broker, ConnectionFacts, DialectFacts, EVERYONE_CHANNEL, Event, Interests,
    NodeFacts, PublishOptions, Receipt, Receives, Rendering, UserId, history::RESERVED_TYPES,
    policy::AccessControl,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Authenticator, Clock, Counters, MountedDialect, Mounting, Reporter, ShardHandle, SpanRecorder,
    batch::{Broadcast, Framed},
    clock::Moment,
    command::ShardCommand,
    in_force::InForce,
    observe::{ObserveLimits, Observers},
    once::{Conflict, InProgress, publish_once},
    spans::Spans,
};

/// One node: its dialects, its shards, its broker.
pub struct Node {
    /// Its id, unique in the cluster.
    pub id: Uuid,
    /// Every registered dialect, by its number.
    pub dialects: Vec<Arc<MountedDialect>>,
    /// The node's counters.
    pub counters: Counters,
    /// Decides who may use which channel.
    pub access: AccessControl,
    /// Its clocks.
    pub clock: Clock,
    /// Answers [`Node::reports`] for this node, if it is set.
    pub reporter: OnceLock<Arc<dyn Reporter>>,
    /// Records the spans of this node, if it is set.
    pub span_recorder: OnceLock<Arc<dyn SpanRecorder>>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) interests: Interests<InForce>,
    /// The traces and tails of operators.
    pub(super) observers: Observers,
    pub(super) max_fan_out_receivers: usize,
    /// The event types that no client may publish.
    pub(super) reserved_types: HashSet<&'static str>,
    shards: OnceLock<Vec<ShardHandle>>,
    broker: OnceLock<Arc<dyn Broker>>,
    draining: AtomicBool,
    connections: AtomicU64,
}

/// The parts of a node.
pub struct NodeOptions {
    /// Its dialects, in the order of their numbers.
    pub dialects: Vec<Mounting>,
    /// Verifies the credentials that clients send while connected.
    pub authenticator: Arc<dyn Authenticator>,
    /// Decides who may use which channel.
    pub access: AccessControl,
    /// Its clocks.
    pub clock: Clock,
    /// The limits of traces and tails.
    pub observe: ObserveLimits,
    /// The limit of the receivers of a shard's fan-outs, of eight bytes each. At the limit, the shard completes the first fan-out
    /// before it begins another.
    pub max_fan_out_receivers: usize,
}

/// The numbers of subscriptions of a node's connections, without personal channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionCounts {
    /// Distinct channels with subscribers, rooms included.
    pub channels: u64,
    /// Subscriptions to channels.
    pub channel_subscriptions: u64,
    /// Subscriptions to patterns.
    pub pattern_subscriptions: u64,
    /// Rooms with members.
    pub rooms: u64,
}

impl Node {
    /// Returns a node without shards and broker.
    pub fn new(options: NodeOptions) -> Arc<Self> {
        let mountings = options.dialects.iter();
        let own_types = mountings.flat_map(|mounting| mounting.dialect.own_types());
        let reserved_types = own_types.copied().chain(RESERVED_TYPES).collect();
        let count = options.dialects.len();
        let mountings = options.dialects.into_iter().enumerate();
        let dialects = mountings.map(|(number, mounting)| MountedDialect::new(number, mounting));
        Arc::new(Self {
            id: Uuid::now_v7(),
            dialects: dialects.collect(),
            counters: Counters::default(),
            authenticator: options.authenticator,
            access: options.access,
            clock: options.clock,
            interests: Interests::new(count),
            observers: Observers::new(options.observe),
            max_fan_out_receivers: options.max_fan_out_receivers,
            reserved_types,
            shards: OnceLock::new(),
            broker: OnceLock::new(),
            reporter: OnceLock::new(),
            span_recorder: OnceLock::new(),
            draining: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        })
    }

    /// Sets the shards and the broker, whose creation needs the node. Call it once, before any other method.
    pub fn attach(&self, shards: Vec<ShardHandle>, broker: Arc<dyn Broker>) {
        // A second call changes nothing.
        let _ = self.shards.set(shards);
        let _ = self.broker.set(broker);
    }

    /// Publishes `events` by the broker, in order, and returns a receipt for each. All doors use it.
    ///
    /// Events whose ids the server chose are passed to the broker at the call, in the order of calls. An event whose publisher chose
    /// the id ([`Event::named`]) is published once in the cluster, even if it is sent again. `conflict` decides about ids that
    /// another publisher has claimed.
    ///
    /// # Errors
    /// If another publisher keeps its claim of an event's id for too long. Then nothing was published.
    pub fn publish(
        &self,
        mut events: Vec<Event>,
        options: PublishOptions,
        conflict: Conflict,
    ) -> impl Future<Output = Result<Vec<Receipt>, InProgress>> + Send + use<> {
        enum Placed {
            Now(BoxFuture<'static, Vec<Receipt>>),
            Once(BoxFuture<'static, Result<Vec<Receipt>, InProgress>>),
        }
        let spans = Spans::of(self.span_recorder.get(), events.iter_mut(), |recorder, event| {
            recorder.publish(event, &self.access)
        });
        self.access.mark_history(&mut events);
        let placed = if events.iter().any(|event| event.named) {
            let broker = self.broker().clone();
            let publishing = async move { publish_once(&*broker, events, options, conflict).await };
            Placed::Once(Box::pin(publishing))
        } else {
            Placed::Now(self.broker().publish(events, options))
        };
        async move {
            let receipts = match placed {
                Placed::Now(publishing) => publishing.await,
                Placed::Once(publishing) => publishing.await?,
            };
            spans.end(&receipts);
            Ok(receipts)
        }
    }

    /// Returns the broker.
    ///
    /// # Panics
    /// Before [`Self::attach`] was called.
    #[allow(clippy::expect_used)] // a program calls `attach` before it uses the node
    pub fn broker(&self) -> &Arc<dyn Broker> {
        self.broker.get().expect("a node is attached to its broker first")
    }

    /// Refuses new connections from now on, and closes all open ones within `window`.
    pub fn drain(&self, window: Duration) {
        self.draining.store(true, Relaxed);
        for mounted in &self.dialects {
            let notice = mounted.dialect.drain_notice(Uuid::now_v7(), self.clock.wall());
            self.broadcast(mounted, notice);
        }
        for shard in self.shards() {
            shard.send(ShardCommand::Drain(window));
        }
    }

    /// Sends `rendering` to all connections of one dialect on this node.
    pub(super) fn broadcast(&self, mounted: &Arc<MountedDialect>, rendering: Option<Rendering>) {
        let Some(rendering) = rendering else { return };
        let broadcast = Arc::new(Broadcast {
            mounted: mounted.clone(),
            framed: Framed::new(&rendering),
        });
        for shard in self.shards() {
            shard.send(ShardCommand::Broadcast(broadcast.clone()));
        }
    }

    /// Returns whether the node is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Returns the number of open connections of all dialects.
    pub fn active(&self) -> u64 {
        let dialects = self.dialects.iter();
        dialects
            .map(|mounted| mounted.counters.active.load(Relaxed))
            .sum()
    }

    /// Returns the number of connections of `user` on this node.
    pub fn connections_of(&self, user: &str) -> usize {
        self.interests.connections_of_user(user)
    }

    /// Returns the users with a connection on this node, in any order.
    pub fn users(&self) -> Vec<UserId> {
        self.interests.users()
    }

    /// Returns the number of connections of this node that an event for `audience` may reach, without connections that would receive
    /// it only by a pattern.
    pub fn listeners(&self, audience: &Audience) -> u64 {
        match audience {
            Audience::User(user) => self.connections_of(user) as u64,
            Audience::Channel(channel) => self.interests.connections_of_channel(channel) as u64,
            Audience::Everyone => {
                let receiving = |how| {
                    self.dialects
                        .iter()
                        .filter(move |own| own.reception.everyone == how)
                };
                let always = receiving(Receives::Always).map(|own| own.counters.active.load(Relaxed));
                let subscribed = match receiving(Receives::Subscribed).next() {
                    Some(_) => self.interests.connections_of_channel(EVERYONE_CHANNEL) as u64,
                    None => 0,
                };
                always.sum::<u64>() + subscribed
            }
        }
    }

    /// Returns the audiences with a listener on this node, in any order: users, channels, and everyone.
    pub fn audiences(&self) -> Vec<Audience> {
        let everyone = Some(Audience::Everyone).filter(|everyone| self.listeners(everyone) > 0);
        let users = self.users().into_iter().map(Audience::User);
        let channels = self.interests.channels().into_iter();
        let channels = channels.map(|(channel, _)| Audience::Channel(channel));
        everyone.into_iter().chain(users).chain(channels).collect()
    }

    /// Returns the number of distinct patterns with a subscription on this node.
    pub fn patterns(&self) -> u64 {
        self.interests.patterns_held() as u64
    }

    /// Returns the figures for reports.
    pub fn facts(&self) -> NodeFacts {
        NodeFacts {
            now: self.clock.wall(),
            uptime: self.clock.uptime(),
            started_at: self.clock.started_at(),
            version: env!("CARGO_PKG_VERSION"),
            publications_received: self.counters.publications_received.load(Relaxed),
            publications_rejected: self.counters.publications_rejected.load(Relaxed),
            shards: self.shards().len(),
        }
    }

    /// Returns the figures of one dialect.
    pub fn dialect_facts(&self, mounted: &MountedDialect) -> DialectFacts {
        let counters = &mounted.counters;
        let abandoned = counters.abandoned.load(Relaxed);
        DialectFacts {
            active: counters.active.load(Relaxed),
            opened: counters.opened.load(Relaxed),
            users: self.interests.users_in(mounted.number),
            max_connections: mounted.settings().max_connections as u64,
            sent: counters.sent.load(Relaxed).saturating_sub(abandoned),
            answers: counters.answers.load(Relaxed),
            failed: counters.dropped.load(Relaxed) + abandoned,
            received: counters.received.load(Relaxed),
            errors: counters.errors.load(Relaxed),
        }
    }

    /// Returns the numbers of its connections' subscriptions.
    pub fn subscription_counts(&self) -> SubscriptionCounts {
        SubscriptionCounts {
            channels: self.interests.channels_held() as u64,
            channel_subscriptions: self.interests.channel_subscriptions(),
            pattern_subscriptions: self.interests.pattern_subscriptions() as u64,
            rooms: self.broker().rooms() as u64,
        }
    }

    /// Returns this node's open connections of `mounted`, oldest first.
    pub async fn list(&self, mounted: &MountedDialect) -> Vec<ConnectionFacts> {
        let asked = self.ask_shards(|reply| ShardCommand::List(mounted.number, reply));
        let mut all: Vec<_> = asked.await.into_iter().flatten().flatten().collect();
        all.sort_by_key(|facts| facts.opened_at);
        all
    }

    pub(super) fn shards(&self) -> &[ShardHandle] {
        self.shards.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Asks every shard, and returns the answers; `None` for a shard that has stopped.
    pub(super) async fn ask_shards<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
    ) -> Vec<Option<T>> {
        let ask = |shard: &ShardHandle| {
            let (reply, replied) = oneshot::channel();
            shard.send(command(reply));
            replied
        };
        // All shards are asked before the first wait.
        let asked: Vec<_> = self.shards().iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for replied in asked {
            answers.push(replied.await.ok());
        }
        answers
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }
}
