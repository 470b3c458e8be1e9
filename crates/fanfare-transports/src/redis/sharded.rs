//! What backends publish by `SPUBLISH` in a Cluster, on the names of users, of everyone and of the service API.
//!
//! A sharded message reaches only those that subscribed to its name at the name's own slot. The client library's connection
//! to a Cluster finds the slots. Where it loses one, everything is subscribed to again at once: on the same connection, or if
//! that fails on a new one, with pauses. Nothing that nodes publish travels here, so no receipt depends on it. Without sharded
//! publish and subscribe (before Redis 7.0), or without the rights to it, nodes receive what is published by `PUBLISH` alone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use fanfare_cluster::{
    ANSWER_TIMEOUT,
    transport::{Further, Received, Subject},
};
use fanfare_core::Audience;
use futures_util::{
    future::join_all,
    stream::{self, BoxStream, StreamExt},
};
use redis::{
    Msg, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection, cluster::ClusterClient,
    cluster::ClusterConfig, cluster_async::ClusterConnection,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

use super::names::Names;

/// Between two renewals, unless the subscriptions were in force for longer than that.
const PAUSE: Duration = Duration::from_millis(500);
/// Names on their way at once.
const NAMES: usize = 1000;

/// The subscriptions to sharded names. They end when this is dropped.
pub(super) struct Sharded {
    changes: mpsc::UnboundedSender<SubscriptionChange>,
    state: watch::Receiver<Further>,
    _task: JoinSet<()>,
}

struct SubscriptionChange {
    names: Vec<String>,
    subscribe: bool,
    done: oneshot::Sender<()>,
}

/// What is wanted, and what has to be waited for.
struct Listener {
    names: Names,
    changes: mpsc::UnboundedReceiver<SubscriptionChange>,
    messages: mpsc::UnboundedSender<Received>,
    state: watch::Sender<Further>,
    /// Since when all that is wanted is in force on this connection.
    since: Option<Instant>,
    wanted: HashSet<String>,
    /// Those that wait for a subscription, until the next connection if this one is lost.
    unanswered: Vec<oneshot::Sender<()>>,
    /// Names whose subscription this node ended, and how often the server has still to confirm it.
    leaving: HashMap<String, u32>,
}

/// Why a connection is of no use any more.
enum Ended {
    /// Another one may be.
    Lost,
    /// The servers do not offer it, or not to this user.
    Refused,
    /// The subscriptions were dropped.
    Dropped,
}

impl Sharded {
    /// Begins to listen. Returns what arrives, too.
    pub(super) fn start(client: ClusterClient, names: Names) -> (Self, BoxStream<'static, Received>) {
        let (changes, received_changes) = mpsc::unbounded_channel();
        let (messages, mut received) = mpsc::unbounded_channel();
        let (state, shown) = watch::channel(Further::Renewing);
        let listener = Listener {
            names,
            changes: received_changes,
            messages,
            state,
            since: None,
            wanted: HashSet::new(),
            unanswered: Vec::new(),
            leaving: HashMap::new(),
        };
        let mut task = JoinSet::new();
        task.spawn(listener.run(client));
        let this = Self {
            changes,
            state: shown,
            _task: task,
        };
        (this, stream::poll_fn(move |cx| received.poll_recv(cx)).boxed())
    }

    /// Shows whether what is wanted is in force.
    pub(super) fn state(&self) -> watch::Receiver<Further> {
        self.state.clone()
    }

    /// Subscribes to those of `subjects` that have a sharded name, or unsubscribes. A subscription is in force when this
    /// resolves, unless the Cluster cannot be reached this way just now.
    pub(super) async fn change(&self, subjects: &[Subject], names: &Names, subscribe: bool) {
        let sharded = subjects.iter().filter(|subject| {
            matches!(
                subject,
                Subject::Events | Subject::Audience(Audience::User(_) | Audience::Everyone)
            )
        });
        let names: Vec<String> = sharded.map(|subject| names.channel(subject)).collect();
        if names.is_empty() {
            return;
        }
        let (done, changed) = oneshot::channel();
        let change = SubscriptionChange {
            names,
            subscribe,
            done,
        };
        if self.changes.send(change).is_ok() && subscribe {
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, changed).await;
        }
    }
}

impl Listener {
    /// Listens until the subscriptions are dropped.
    async fn run(mut self, client: ClusterClient) {
        loop {
            let (push_sender, pushed) = mpsc::unbounded_channel();
            let config = ClusterConfig::new()
                .set_connection_timeout(ANSWER_TIMEOUT)
                .set_response_timeout(ANSWER_TIMEOUT)
                .set_push_sender(push_sender);
            let ended = match client.get_async_connection_with_config(config).await {
                Ok(connection) => self.listen(connection, pushed).await,
                Err(error) => ended(&error),
            };
            match (ended, self.since.take()) {
                // What is wanted meanwhile waits for the next connection.
                (Ended::Lost, Some(since)) => {
                    self.state.send_replace(Further::Renewing);
                    tokio::time::sleep(PAUSE.saturating_sub(since.elapsed())).await;
                }
                (Ended::Lost, None) => {
                    self.state.send_replace(Further::Away);
                    self.note_changes(Some(PAUSE)).await;
                }
                (Ended::Refused, _) => {
                    self.state.send_replace(Further::InForce);
                    self.note_changes(None).await;
                }
                (Ended::Dropped, _) => return,
            }
        }
    }

    /// Takes down changes for that long, while there is no connection; without a time, until the subscriptions are dropped.
    async fn note_changes(&mut self, time: Option<Duration>) {
        self.answer();
        let note = async {
            while let Some(SubscriptionChange {
                names,
                subscribe,
                done,
            }) = self.changes.recv().await
            {
                if subscribe {
                    self.wanted.extend(names);
                } else {
                    for name in &names {
                        self.wanted.remove(name);
                    }
                }
                let _ = done.send(());
            }
        };
        match time {
            Some(time) => drop(tokio::time::timeout(time, note).await),
            None => note.await,
        }
    }

    /// Nothing has to be waited for any more.
    fn answer(&mut self) {
        for done in self.unanswered.drain(..) {
            let _ = done.send(());
        }
    }

    /// Subscribes to all that is wanted, then passes on what arrives and carries out changes.
    async fn listen(
        &mut self,
        connection: ClusterConnection<MultiplexedConnection>,
        mut pushed: mpsc::UnboundedReceiver<PushInfo>,
    ) -> Ended {
        let mut is_in_force = false;
        loop {
            if !is_in_force {
                if let Err(error) = self.subscribe_again(&connection, &mut pushed).await {
                    return ended(&error);
                }
                is_in_force = true;
            }
            if pushed.is_empty() {
                // Whatever the connection reports comes before the answers that rely on it.
                self.answer();
            }
            tokio::select! {
                biased;
                push = pushed.recv() => match push {
                    Some(push) => is_in_force = self.pass_on(push),
                    None => return Ended::Lost,
                },
                change = self.changes.recv() => match change {
                    Some(change) => if let Err(error) = self.carry_out(change, &connection).await {
                        match ended(&error) {
                            Ended::Lost => is_in_force = false,
                            other => return other,
                        }
                    },
                    None => return Ended::Dropped,
                },
            }
        }
    }

    /// Subscribes to all that is wanted, also to what is in force: one of the servers has ended subscriptions, and what the others
    /// send goes on arriving meanwhile.
    async fn subscribe_again(
        &mut self,
        connection: &ClusterConnection<MultiplexedConnection>,
        pushed: &mut mpsc::UnboundedReceiver<PushInfo>,
    ) -> Result<(), RedisError> {
        if let Some(since) = self.since {
            self.state.send_replace(Further::Renewing);
            tokio::time::sleep(PAUSE.saturating_sub(since.elapsed())).await;
        }
        while let Ok(push) = pushed.try_recv() {
            self.pass_on(push);
        }
        self.leaving.clear();
        let wanted: Vec<String> = self.wanted.iter().cloned().collect();
        change(connection, &wanted, true).await?;
        self.since = Some(Instant::now());
        self.state.send_replace(Further::InForce);
        Ok(())
    }

    async fn carry_out(
        &mut self,
        SubscriptionChange {
            names,
            subscribe: is_wanted,
            done,
        }: SubscriptionChange,
        connection: &ClusterConnection<MultiplexedConnection>,
    ) -> Result<(), RedisError> {
        let result = if is_wanted {
            self.wanted.extend(names.iter().cloned());
            change(connection, &names, true).await
        } else {
            for name in &names {
                self.wanted.remove(name);
                *self.leaving.entry(name.clone()).or_default() += 1;
            }
            change(connection, &names, false).await
        };
        self.unanswered.push(done);
        result
    }

    /// Passes on a message. Returns whether all that is wanted is still in force.
    fn pass_on(&mut self, push: PushInfo) -> bool {
        match push.kind {
            PushKind::Disconnection => return false,
            // The slot has moved, if this node did not ask for that.
            PushKind::SUnsubscribe => {
                let Some(Value::BulkString(name)) = push.data.first() else {
                    return false;
                };
                let name = String::from_utf8_lossy(name);
                return match self.leaving.get_mut(&*name) {
                    Some(1) => self.leaving.remove(&*name).is_some(),
                    Some(count) => {
                        *count -= 1;
                        true
                    }
                    None => false,
                };
            }
            _ => {}
        }
        if push.kind == PushKind::SMessage
            && let Some(message) = Msg::from_push_info(push)
        {
            let message = Received {
                is_sharded: true,
                ..super::received(&message, &self.names)
            };
            // Fails only while the connection that receives is closed.
            let _ = self.messages.send(message);
        }
        true
    }
}

/// Subscribes to `names`, or unsubscribes.
async fn change(
    connection: &ClusterConnection<MultiplexedConnection>,
    names: &[String],
    subscribe: bool,
) -> Result<(), RedisError> {
    for some in names.chunks(NAMES) {
        let requests = some.iter().map(|name| {
            let mut connection = connection.clone();
            async move {
                if subscribe {
                    connection.ssubscribe(name).await
                } else {
                    connection.sunsubscribe(name).await
                }
            }
        });
        join_all(requests).await.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

fn ended(error: &RedisError) -> Ended {
    match error.code() {
        Some("ERR" | "NOPERM") => Ended::Refused,
        _ => Ended::Lost,
    }
}
