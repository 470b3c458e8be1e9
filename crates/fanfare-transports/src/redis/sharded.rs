//! Receives the events that backends publish by `SPUBLISH` in a Cluster, on the names of users, of everyone and of the service API.
//!
//! A sharded message reaches only the clients that subscribed to its name at the name's own slot. The client library's connection to a
//! Cluster finds the slots. If it loses one, all subscriptions are renewed at once: on the same connection, or if that fails, on a new
//! one, with pauses. Nodes never publish by `SPUBLISH`, so no receipt depends on it. Without sharded publish and subscribe (before Redis
//! 7.0), or without the rights to use it, nodes receive only the events published by `PUBLISH`.

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

/// The shortest time between two renewals.
const PAUSE: Duration = Duration::from_millis(500);
/// The time within which a renewal after another one is hasty.
const STEADY: Duration = Duration::from_secs(2);
/// The number of hasty renewals in a row after which the subscriptions count as away.
const HASTY_RENEWALS: u32 = 3;
/// The most names in one batch of requests.
const BATCH: usize = 1000;

/// The subscriptions to sharded names, which end when this is dropped.
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

/// The task that maintains the wanted subscriptions.
struct Listener {
    names: Names,
    changes: mpsc::UnboundedReceiver<SubscriptionChange>,
    messages: mpsc::UnboundedSender<Received>,
    state: watch::Sender<Further>,
    /// The time since which all wanted subscriptions are in force on this connection, if they are.
    since: Option<Instant>,
    /// The time at which they last came into force, on any connection.
    last: Option<Instant>,
    /// The hasty renewals in a row.
    hasty: u32,
    wanted: HashSet<String>,
    /// The callers that wait for a subscription, until the next connection if this one is lost.
    unanswered: Vec<oneshot::Sender<()>>,
}

/// The reasons why a connection cannot be used any longer.
enum Ended {
    /// The connection is lost; another one may work.
    Lost,
    /// The servers do not offer sharded subscriptions, or refuse them to this user.
    Refused,
    /// The subscriptions were dropped.
    Dropped,
}

impl Sharded {
    /// Starts the task. Also returns the messages that arrive.
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

    /// Returns the state of the wanted subscriptions.
    pub(super) fn state(&self) -> watch::Receiver<Further> {
        self.state.clone()
    }

    /// Subscribes to those of `subjects` that have a sharded name, or unsubscribes. A subscription is in force when this resolves, unless
    /// the Cluster is unavailable.
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
                // Changes that arrive meanwhile wait for the next connection.
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

    /// Notes the loss of the subscriptions, which were in force since `since`, and waits until they may be renewed.
    async fn lost(&mut self, since: Instant) {
        if self.is_steady() {
            self.state.send_replace(Further::Renewing);
        }
        tokio::time::sleep(PAUSE.saturating_sub(since.elapsed())).await;
    }

    /// Notes that all wanted subscriptions are in force. If they were lost repeatedly, they count as away until they are steady.
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

    /// Resolves when unsteady subscriptions have been in force for [`STEADY`].
    async fn steady(last: Option<Instant>, is_steady: bool) {
        match last {
            Some(last) if !is_steady => tokio::time::sleep_until(last + STEADY).await,
            _ => std::future::pending().await,
        }
    }

    /// Notes changes without a connection, for `time`; without a time, until the subscriptions are dropped.
    async fn note_changes(&mut self, time: Option<Duration>) {
        self.notify_callers();
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

    /// Notifies the callers that wait for a subscription.
    fn notify_callers(&mut self) {
        for done in self.unanswered.drain(..) {
            let _ = done.send(());
        }
    }

    /// Subscribes to all wanted names, then passes on messages and makes changes.
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
                // The loss of a subscription is handled before its caller is notified.
                self.notify_callers();
            }
            let steady = Self::steady(self.last, self.is_steady());
            tokio::select! {
                biased;
                push = pushed.recv() => match push {
                    Some(push) => is_in_force = self.pass_on(push),
                    None => return Ended::Lost,
                },
                change = self.changes.recv() => match change {
                    Some(change) => if let Err(error) = self.make_change(change, &connection).await {
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

    /// Subscribes to all wanted names, even to those in force: one of the servers has ended subscriptions. Messages of the others arrive
    /// meanwhile.
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
        send_change(connection, &wanted, true).await?;
        self.in_force();
        Ok(())
    }

    async fn make_change(
        &mut self,
        change: SubscriptionChange,
        connection: &ClusterConnection<MultiplexedConnection>,
    ) -> Result<(), RedisError> {
        note(&mut self.wanted, &change);
        let result = send_change(connection, &change.names, change.subscribe).await;
        self.unanswered.push(change.done);
        result
    }

    /// Passes on a message. Returns whether all wanted subscriptions are still in force.
    fn pass_on(&mut self, push: PushInfo) -> bool {
        match push.kind {
            PushKind::Disconnection => return false,
            // The slot has moved. For an unwanted name, this is the late answer to the node's own command.
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
            // Fails only while the receiving connection is being closed.
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
async fn send_change(
    connection: &ClusterConnection<MultiplexedConnection>,
    names: &[String],
    subscribe: bool,
) -> Result<(), RedisError> {
    for some in names.chunks(BATCH) {
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
    async fn subscriptions_that_are_lost_repeatedly_are_away_until_they_are_steady() {
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
    fn the_late_end_of_an_unwanted_subscription_is_no_loss() {
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
