//! What backends publish by `SPUBLISH` in a Cluster, on the names of users, of everyone and of the service API.
//!
//! A sharded message reaches only those that subscribed to its name at the name's own slot. The client library's connection
//! to a Cluster finds the slots. Where it loses one, everything is subscribed to again at once: on the same connection, or if
//! that fails on a new one, with pauses. Nothing that nodes publish travels here, so no receipt depends on it. Without sharded
//! publish and subscribe (before Redis 7.0), or without the rights to it, nodes receive what is published by `PUBLISH` alone.

use std::{collections::HashSet, time::Duration};

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
/// Subscriptions that are renewed so soon after the last time are not steady.
const STEADY: Duration = Duration::from_secs(2);
/// How often in a row until they count as away.
const HASTY_RENEWALS: u32 = 3;
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
    /// The same on any connection, the last time.
    last: Option<Instant>,
    /// How often in a row it was renewed before it was steady.
    hasty: u32,
    wanted: HashSet<String>,
    /// Those that wait for a subscription, until the next connection if this one is lost.
    unanswered: Vec<oneshot::Sender<()>>,
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
        let listener = Listener::new(names, received_changes, messages);
        let state = listener.state.subscribe();
        let mut task = JoinSet::new();
        task.spawn(listener.run(client));
        let this = Self {
            changes,
            state,
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
    fn new(
        names: Names,
        changes: mpsc::UnboundedReceiver<SubscriptionChange>,
        messages: mpsc::UnboundedSender<Received>,
    ) -> Self {
        Self {
            names,
            changes,
            messages,
            state: watch::Sender::new(Further::Renewing),
            since: None,
            last: None,
            hasty: 0,
            wanted: HashSet::new(),
            unanswered: Vec::new(),
        }
    }

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
                (Ended::Lost, Some(since)) => self.lost(since).await,
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

    /// What was in force `since` then is lost: waits until it may be renewed.
    async fn lost(&mut self, since: Instant) {
        if self.is_steady() {
            self.state.send_replace(Further::Renewing);
        }
        tokio::time::sleep(PAUSE.saturating_sub(since.elapsed())).await;
    }

    /// All that is wanted is in force now. What is lost again and again counts as away until it is steady.
    fn in_force(&mut self) {
        let is_hasty = self.last.is_some_and(|last| last.elapsed() < STEADY);
        self.hasty = if is_hasty { self.hasty + 1 } else { 0 };
        self.since = Some(Instant::now());
        self.last = self.since;
        self.state.send_replace(if self.is_steady() {
            Further::InForce
        } else {
            Further::Away
        });
    }

    fn is_steady(&self) -> bool {
        self.hasty < HASTY_RENEWALS
    }

    /// Resolves when what was not steady has been in force for long enough.
    async fn steady(last: Option<Instant>, is_steady: bool) {
        match last {
            Some(last) if !is_steady => tokio::time::sleep_until(last + STEADY).await,
            _ => std::future::pending().await,
        }
    }

    /// Takes down changes for that long, while there is no connection; without a time, until the subscriptions are dropped.
    async fn note_changes(&mut self, time: Option<Duration>) {
        self.answer();
        let note = async {
            while let Some(change) = self.changes.recv().await {
                note(&mut self.wanted, &change);
                let _ = change.done.send(());
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
            let steady = Self::steady(self.last, self.is_steady());
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
                () = steady => {
                    self.hasty = 0;
                    self.state.send_replace(Further::InForce);
                }
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
            self.lost(since).await;
        }
        while let Ok(push) = pushed.try_recv() {
            self.pass_on(push);
        }
        let wanted: Vec<String> = self.wanted.iter().cloned().collect();
        change(connection, &wanted, true).await?;
        self.in_force();
        Ok(())
    }

    async fn carry_out(
        &mut self,
        wish: SubscriptionChange,
        connection: &ClusterConnection<MultiplexedConnection>,
    ) -> Result<(), RedisError> {
        note(&mut self.wanted, &wish);
        let result = change(connection, &wish.names, wish.subscribe).await;
        self.unanswered.push(wish.done);
        result
    }

    /// Passes on a message. Returns whether all that is wanted is still in force.
    fn pass_on(&mut self, push: PushInfo) -> bool {
        match push.kind {
            PushKind::Disconnection => return false,
            // The slot has moved. Of a name that is not wanted any more it is the answer to this node, however late.
            PushKind::SUnsubscribe => {
                let Some(Value::BulkString(name)) = push.data.first() else {
                    return false;
                };
                return !self.wanted.contains(&*String::from_utf8_lossy(name));
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

/// Adds the names of `change` to `wanted`, or removes them.
fn note(wanted: &mut HashSet<String>, change: &SubscriptionChange) {
    if change.subscribe {
        wanted.extend(change.names.iter().cloned());
    } else {
        for name in &change.names {
            wanted.remove(name);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{
        Further::{Away, InForce, Renewing},
        *,
    };

    fn listener() -> Listener {
        let (changes, messages) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        Listener::new(Names::new("").unwrap(), changes.1, messages.0)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_again_and_again_is_away_until_it_is_steady() {
        let mut listener = listener();
        let mut states = Vec::new();
        for held in [0, 0, 0, 0, 3, 0] {
            listener.in_force();
            states.push(*listener.state.borrow());
            tokio::time::sleep(Duration::from_secs(held)).await;
            listener.lost(listener.since.unwrap()).await;
            states.push(*listener.state.borrow());
        }
        let expected = [
            [InForce, Renewing],
            [InForce, Renewing],
            [InForce, Renewing],
            [Away, Away],
            [Away, Away],
            [InForce, Renewing],
        ];
        assert_eq!(states, expected.concat());
    }

    #[test]
    fn the_end_of_an_unwanted_subscription_is_no_loss_however_late() {
        let mut listener = listener();
        listener.wanted.insert("a".to_owned());
        let mut is_in_force = |kind, name: &str| {
            let data = vec![Value::BulkString(name.into()), Value::Int(0)];
            listener.pass_on(PushInfo { kind, data })
        };
        assert!(is_in_force(PushKind::SUnsubscribe, "b"));
        assert!(is_in_force(PushKind::SSubscribe, "a"));
        assert!(!is_in_force(PushKind::SUnsubscribe, "a"));
        assert!(!is_in_force(PushKind::Disconnection, ""));
    }
}
