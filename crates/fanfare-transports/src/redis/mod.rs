//! Redis and Valkey: messages travel by `PUBLISH`, each idempotency key is a key with a lifetime, and scripts maintain presence and the
//! journal.

mod address;
mod cluster;
mod errors;
mod ids;
mod journal;
mod names;
mod presence;
mod publish;
mod scripts;
mod sentinel;
mod server;
mod servers;
mod sharded;

use std::sync::{Arc, atomic::AtomicBool};

use fanfare_cluster::transport::{
    Batch, Failed, IdStore, JournalStore, Message, PresenceStore, PublishError, Received, Receiver, Sender,
    Subject, Subscriber, Transport,
};
use fanfare_core::BoxFuture;
use futures_util::{
    future::ready,
    stream::{self, BoxStream, Stream, StreamExt},
};
use redis::{FromRedisValue, Pipeline, Value, aio::PubSubSink};

use self::{
    names::Names,
    server::{Purpose, Server, check_alive},
    servers::Servers,
    sharded::Sharded,
};
use crate::{BrokerOptions, OpenError};

/// A Redis server, the master of a group of them, or a Redis Cluster.
pub(crate) struct Redis {
    servers: Arc<Servers>,
    names: Names,
    max_journals: usize,
    max_known_members: usize,
}

impl Redis {
    /// Reads `options` without connecting.
    ///
    /// # Errors
    /// If a URL, the authorities or the prefix are not usable.
    pub(crate) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        let names = if options.cluster.is_empty() {
            Names::new(&options.prefix)?
        } else {
            Names::in_one_slot(&options.prefix)?
        };
        Ok(Self {
            servers: Arc::new(Servers::new(options, names.hub())?),
            names,
            max_journals: options.max_journals,
            max_known_members: options.node.max_known_members,
        })
    }

    /// Returns a warning about the options for the operator.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        let settings = self.servers.single()?.get_connection_info().redis_settings();
        (settings.db() != 0 && !self.names.has_prefix()).then_some(
            "the number of the database does not separate nodes: Redis' publish and subscribe ignore it, so nodes on other \
             databases of this server receive the same events; set broker.prefix",
        )
    }
}

impl Transport for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn address(&self) -> String {
        self.servers.address()
    }

    fn has_plain_publications(&self) -> bool {
        true
    }

    fn open_sender(&self) -> BoxFuture<'_, Result<Box<dyn Sender>, Failed>> {
        Box::pin(async move {
            let connection = Connection {
                server: self.servers.connect(Purpose::Publishing).await?,
                servers: Arc::clone(&self.servers),
                names: self.names.clone(),
                max_journals: self.max_journals,
                max_known_members: self.max_known_members,
                has_journal_script: AtomicBool::new(false),
            };
            Ok(Box::new(connection) as Box<dyn Sender>)
        })
    }

    fn open_receiver(&self) -> BoxFuture<'_, Result<Receiver, Failed>> {
        Box::pin(async move {
            let (client, chosen) = if let Some(client) = self.servers.single() {
                (client.clone(), None)
            } else {
                let server = self.servers.connect(Purpose::Receiving).await?;
                (server.client.clone(), Some(server))
            };
            let connection = client.get_async_pubsub().await;
            let connection = connection.map_err(|error| self.servers.texts.describe(&error))?;
            let (sink, stream) = connection.split();
            let names = self.names.clone();
            let messages = stream.map(move |message| received(&message, &names));
            let (sharded, messages) = match self.servers.sharded_client() {
                Some(client) => {
                    let (sharded, others) = Sharded::start(client, self.names.clone());
                    (Some(sharded), both(messages, others))
                }
                None => (None, messages.boxed()),
            };
            let further = sharded.as_ref().map(Sharded::state);
            Ok(Receiver {
                subscriber: Box::new(Subscriptions {
                    sink,
                    sharded,
                    chosen,
                    servers: Arc::clone(&self.servers),
                    names: self.names.clone(),
                }),
                messages,
                further,
            })
        })
    }
}

/// Converts a message of the client library.
fn received(message: &redis::Msg, names: &Names) -> Received {
    Received {
        subject: names.subject(message.get_channel_name()),
        by_all_channels: message.from_pattern(),
        is_sharded: false,
        payload: message.get_payload_bytes().to_vec().into(),
        version: None,
        position: journal::position(message.get_payload_bytes()),
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// Reads a value of the type `T`; `None` if Redis sent another one.
fn read<T: FromRedisValue>(value: &Value) -> Option<T> {
    redis::from_redis_value_ref(value).ok()
}

/// Merges both streams into one, which ends when `first` ends.
fn both<T: Send + 'static>(
    first: impl Stream<Item = T> + Send + 'static,
    second: impl Stream<Item = T> + Send + 'static,
) -> BoxStream<'static, T> {
    let first = first.map(Some).chain(stream::once(ready(None)));
    let both = stream::select(first, second.map(Some));
    both.take_while(|item| ready(item.is_some()))
        .filter_map(ready)
        .boxed()
}

/// A connection that publishes.
struct Connection {
    server: Server,
    servers: Arc<Servers>,
    names: Names,
    /// The most audiences whose last numbers the journal keeps.
    max_journals: usize,
    /// The most members of a room that are listed.
    max_known_members: usize,
    /// The server has cached the journal's script, unless its cache was cleared meanwhile.
    has_journal_script: AtomicBool,
}

impl Connection {
    /// Sends the commands of `pipe`. Returns their answers; `None` if the connection is lost.
    async fn send(&self, pipe: &Pipeline) -> Option<Vec<Value>> {
        let count = pipe.len();
        let mut connection = self.server.connection.clone();
        // The connection has a response timeout.
        let answers = connection.send_packed_commands(pipe, 0, count).await.ok()?;
        (answers.len() == count).then_some(answers)
    }

    /// Returns the error in `answer`, if it is one.
    fn refusal(&self, answer: &Value) -> Option<String> {
        match answer {
            Value::ServerError(error) => Some(self.servers.texts.refused(error.code(), error.details())),
            _ => None,
        }
    }
}

impl Sender for Connection {
    fn publish<'a>(&'a self, messages: &'a [Message], counted: &'a [Subject]) -> BoxFuture<'a, Batch> {
        Box::pin(async move {
            let batch = self.publish_all(messages, counted).await;
            batch.unwrap_or_else(|| (vec![Err(PublishError::Lost); messages.len()], Ok(Vec::new())))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(self.servers.check(&self.server))
    }

    fn ids(&self) -> &dyn IdStore {
        self
    }

    fn presence(&self) -> Option<&dyn PresenceStore> {
        Some(self)
    }

    fn journal(&self) -> Option<&dyn JournalStore> {
        Some(self)
    }
}

/// The subscriptions of a connection that receives.
struct Subscriptions {
    sink: PubSubSink,
    /// The sharded subscriptions, in a Cluster.
    sharded: Option<Sharded>,
    /// Another connection to the server, if it was chosen among several.
    chosen: Option<Server>,
    servers: Arc<Servers>,
    names: Names,
}

impl Subscriptions {
    /// Subscribes to `subjects`, or unsubscribes: channels and patterns have different commands.
    async fn change(&self, subjects: &[Subject], subscribe: bool) -> Result<(), Failed> {
        let is_pattern = |subject: &&Subject| matches!(subject, Subject::AllChannels | Subject::AllUsers);
        let (patterns, channels): (Vec<&Subject>, Vec<&Subject>) = subjects.iter().partition(is_pattern);
        for (subjects, is_pattern) in [(channels, false), (patterns, true)] {
            if subjects.is_empty() {
                continue;
            }
            let mut sink = self.sink.clone();
            let names: Vec<String> = subjects
                .into_iter()
                .map(|subject| self.names.channel(subject))
                .collect();
            let changed = match (subscribe, is_pattern) {
                (true, false) => sink.subscribe(names).await,
                (false, false) => sink.unsubscribe(names).await,
                (true, true) => sink.psubscribe(names).await,
                (false, true) => sink.punsubscribe(names).await,
            };
            changed.map_err(|error| self.servers.texts.describe(&error))?;
        }
        if let Some(sharded) = &self.sharded {
            sharded.change(subjects, &self.names, subscribe).await;
        }
        Ok(())
    }
}

impl Subscriber for Subscriptions {
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(self.change(subjects, true))
    }

    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(self.change(subjects, false))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async move {
            let answer = self.sink.clone().ping::<Value>().await;
            check_alive(&self.servers.texts, answer)?;
            match &self.chosen {
                Some(server) => self.servers.check(server).await,
                None => Ok(()),
            }
        })
    }
}
