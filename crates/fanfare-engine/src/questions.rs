//! The questions that nodes ask each other, so that an operator gets one answer for all.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use fanfare_core::{Channel, Present};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Filter, Node, RowPage,
    command::ShardCommand,
    in_force,
    interest_guard::WatchGuard,
    observe::{EventTrace, Subject, TraceOrder, TraceSummary},
};

/// The time between two checks whether an armed trace has ended.
const ARMED_CHECK: Duration = Duration::from_secs(1);

/// A question to every node. A node of a version that does not know a field does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    /// The number of this user's connections.
    Presence(Box<str>),
    /// The open connections.
    Connections(Filter),
    /// The channels with subscribers.
    Channels(NameRange),
    /// The connected users.
    Users(NameRange),
    /// The report of this name ([`super::Reporter`]).
    Report(Box<str>),
    /// The members of this room on the node: at most `limit`, with ids after `after`.
    Room {
        room: Box<str>,
        after: Box<str>,
        limit: usize,
    },
    /// End this connection.
    End(Uuid),
    /// Arm this trace.
    Arm(TraceOrder),
    /// End this armed trace.
    Disarm(Uuid),
    /// The traced events: at most `limit`, and only those of `order`, if given.
    Traces { order: Option<Uuid>, limit: usize },
    /// The trace of this event.
    Trace(Uuid),
}

/// A part of a list of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRange {
    /// The name before the first.
    pub after: Box<str>,
    /// The prefix of all names.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub prefix: Box<str>,
    /// The most names.
    pub limit: usize,
}

/// A notice to every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Notice {
    /// This login session has ended.
    SessionTerminated(Box<str>),
}

/// The answers of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAnswer<T> {
    /// All answers, summed.
    pub answer: T,
    /// Whether every node has answered.
    pub complete: bool,
}

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMember {
    /// The user.
    pub user: Box<str>,
    /// The user's name.
    pub username: Box<str>,
    /// The user's connections in the room.
    pub connections: u64,
    /// The number of nodes with such connections.
    pub nodes: u64,
    /// The time at which the first of them entered, in milliseconds of Unix time.
    pub since_ms: u64,
}

/// The numbers of connections by name: of a user, or subscribed to exactly this channel.
pub type Counts = BTreeMap<Box<str>, u64>;

impl Node {
    /// Returns the number of connections of `user` on all nodes.
    pub async fn presence(&self, user: &str) -> ClusterAnswer<u64> {
        let asked = self.ask_all::<u64>(&Question::Presence(user.into())).await;
        asked.map(|counts| counts.into_iter().sum())
    }

    /// Returns the open connections of all nodes that match `filter`.
    pub async fn connections(&self, filter: Filter) -> ClusterAnswer<RowPage> {
        let asked = self.ask_all(&Question::Connections(filter.clone())).await;
        asked.map(|pages| filter.merge(pages))
    }

    /// Returns the channels with subscribers on any node, by name.
    pub async fn channels(&self, names: NameRange) -> ClusterAnswer<Counts> {
        let limit = names.limit;
        self.counts(&Question::Channels(names), limit).await
    }

    /// Returns the users that are connected to any node, by id.
    pub async fn online_users(&self, names: NameRange) -> ClusterAnswer<Counts> {
        let limit = names.limit;
        self.counts(&Question::Users(names), limit).await
    }

    async fn counts(&self, question: &Question, limit: usize) -> ClusterAnswer<Counts> {
        let asked = self.ask_all::<Counts>(question).await;
        asked.map(|each| {
            let mut sums = Counts::new();
            for (name, count) in each.into_iter().flatten() {
                *sums.entry(name).or_default() += count;
            }
            sums.into_iter().take(limit).collect()
        })
    }

    /// Returns the report `name` of each node's [`super::Reporter`].
    pub async fn reports<T: DeserializeOwned>(&self, name: &str) -> ClusterAnswer<Vec<T>> {
        self.ask_all(&Question::Report(name.into())).await
    }

    /// Returns at most `limit` members of `room` on all nodes, by id, after the id `after`.
    pub async fn room_members(
        &self,
        room: &Channel,
        after: &str,
        limit: usize,
    ) -> ClusterAnswer<Vec<RoomMember>> {
        let question = Question::Room {
            room: (**room).into(),
            after: after.into(),
            limit,
        };
        let asked = self.ask_all::<Vec<RoomMember>>(&question).await;
        asked.map(|each| {
            let mut sums = BTreeMap::<Box<str>, RoomMember>::new();
            for member in each.into_iter().flatten() {
                let sum = sums.entry(member.user.clone());
                sum.and_modify(|known| known.add(&member)).or_insert(member);
            }
            sums.into_values().take(limit).collect()
        })
    }

    /// Ends the connection with this id, on any node. Returns whether there was one.
    pub async fn end_connection(&self, id: Uuid) -> ClusterAnswer<bool> {
        let asked = self.ask_all::<u64>(&Question::End(id)).await;
        asked.map(|ended| ended.into_iter().any(|count| count > 0))
    }

    /// Arms a trace on every node. While it is armed, this node requests the traced events from the broker, so that they are recorded
    /// even if no node has a connection for them. Returns whether all nodes had room for the trace.
    pub async fn arm_trace(self: &Arc<Self>, order: TraceOrder) -> ClusterAnswer<bool> {
        let interests = order.subjects.iter().filter_map(Subject::interest);
        let watched = interests.map(|interest| WatchGuard::new(self, interest));
        let (guards, in_force): (Vec<_>, Vec<_>) = watched.unzip();
        let asked = self.ask_all::<bool>(&Question::Arm(order.clone())).await;
        if !asked.answer.is_empty() && asked.answer.iter().any(|armed| *armed) {
            for placed in in_force {
                in_force::wait(placed).await;
            }
            let node = self.clone();
            tokio::spawn(async move {
                // A trace that has all its events ends early.
                while let Some(end) = node.observers.traces.armed_until(order.id) {
                    tokio::time::sleep_until(end.min(Instant::now() + ARMED_CHECK)).await;
                }
                drop(guards);
            });
        }
        asked.map(|armed| armed.into_iter().all(|armed| armed))
    }

    /// Ends an armed trace on every node. Returns whether any node had it.
    pub async fn disarm_trace(&self, order: Uuid) -> ClusterAnswer<bool> {
        let asked = self.ask_all::<bool>(&Question::Disarm(order)).await;
        asked.map(|disarmed| disarmed.into_iter().any(|disarmed| disarmed))
    }

    /// Returns the traced events of all nodes, the latest first; only those of `order`, if given.
    pub async fn traces(&self, order: Option<Uuid>, limit: usize) -> ClusterAnswer<Vec<TraceSummary>> {
        let question = Question::Traces { order, limit };
        let asked = self.ask_all::<Vec<TraceSummary>>(&question).await;
        asked.map(|each| {
            let mut all: Vec<_> = each.into_iter().flatten().collect();
            // Of the nodes that traced an event, the first counts.
            all.sort_by_key(|one| (one.recorded_at_us, Reverse(one.event.id)));
            let mut known = HashSet::new();
            all.retain(|one| known.insert(one.event.id));
            all.reverse();
            all.truncate(limit);
            all
        })
    }

    /// Returns each node's trace of the event with this id; `None` for a node without one.
    pub async fn trace(&self, id: Uuid) -> ClusterAnswer<Vec<Option<EventTrace>>> {
        self.ask_all(&Question::Trace(id)).await
    }

    /// Ends the connections of this node whose credentials were revoked.
    pub fn end_revoked(&self) {
        for shard in self.shards() {
            shard.send(ShardCommand::EndRevoked);
        }
    }

    /// Notifies all nodes that a login session has ended, so that its tokens are refused and its connections end.
    pub fn terminate_session(&self, session: &str) {
        // Writing to memory does not fail.
        let notice = serde_json::to_vec(&Notice::SessionTerminated(session.into())).unwrap_or_default();
        self.broker().broadcast(notice.into());
    }

    async fn ask_all<T: DeserializeOwned>(&self, question: &Question) -> ClusterAnswer<Vec<T>> {
        let question = serde_json::to_vec(question).unwrap_or_default(); // as above
        let asked = self.broker().ask(question.into()).await;
        let answers = asked.answers.iter();
        let answer: Vec<T> = answers
            .filter_map(|answer| serde_json::from_slice(answer).ok())
            .collect();
        ClusterAnswer {
            complete: asked.complete && answer.len() == asked.answers.len(),
            answer,
        }
    }

    /// Answers a question of any node, this one included. The answer to an unknown question is empty.
    pub(super) async fn answer_question(&self, question: Bytes) -> Bytes {
        let Ok(question) = serde_json::from_slice(&question) else {
            return Bytes::new();
        };
        let answer = match question {
            Question::Presence(user) => serde_json::to_vec(&self.connections_of(&user)),
            Question::Connections(filter) => {
                let asked = self.ask_shards(|reply| ShardCommand::Rows(filter.clone(), reply));
                filter.merge(asked.await.into_iter().flatten()).into_json()
            }
            Question::Channels(names) => {
                let channels = self.interests.channels();
                serde_json::to_vec(&names.page(channels, |(name, _)| name, |(_, count)| *count))
            }
            Question::Users(names) => {
                let users = names.page(self.users(), |user| user, |user| self.connections_of(user));
                serde_json::to_vec(&users)
            }
            Question::Report(name) => {
                let Some(reporter) = self.reporter.get() else {
                    return Bytes::new();
                };
                return reporter.report(&name).await.unwrap_or_default();
            }
            Question::Room { room, after, limit } => {
                serde_json::to_vec(&self.local_members(&room, &after, limit))
            }
            Question::End(id) => {
                let ended = self.ask_shards(|reply| ShardCommand::End(id, reply)).await;
                serde_json::to_vec(&ended.into_iter().flatten().sum::<u64>())
            }
            Question::Arm(order) => serde_json::to_vec(&self.observers.arm(order)),
            Question::Disarm(order) => serde_json::to_vec(&self.observers.traces.disarm(order)),
            Question::Traces { order, limit } => {
                serde_json::to_vec(&self.observers.traces.list(order, limit))
            }
            Question::Trace(id) => {
                serde_json::to_vec(&self.observers.traces.find(id).map(|traced| traced.snapshot()))
            }
        };
        answer.unwrap_or_default().into()
    }

    /// Handles a notice of any node, this one included.
    pub(super) fn handle_notice(&self, notice: &Bytes) {
        match serde_json::from_slice(notice) {
            Ok(Notice::SessionTerminated(session)) => self.authenticator.revoke_session(&session),
            Err(_) => tracing::debug!("a notice of another node is not understood"),
        }
    }

    fn local_members(&self, room: &str, after: &str, limit: usize) -> Vec<RoomMember> {
        let Ok(room) = Channel::new(room) else {
            return Vec::new();
        };
        let mut present = self.broker().present(&room);
        present.retain(|one| *one.member.user > *after);
        present.sort_unstable_by(|a, b| a.member.user.cmp(&b.member.user));
        let present = present.iter().take(limit);
        present.map(RoomMember::from_present).collect()
    }
}

impl NameRange {
    /// Returns those of `all` that are in the range, each with its count.
    fn page<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> &str, count: impl Fn(&T) -> usize) -> Counts {
        all.retain(|own| *name(own) > *self.after && name(own).starts_with(&*self.prefix));
        if all.len() > self.limit {
            // The map sorts the page; the rest needs no order.
            all.select_nth_unstable_by(self.limit, |a, b| name(a).cmp(name(b)));
            all.truncate(self.limit);
        }
        let page = all.iter().map(|own| (name(own).into(), count(own) as u64));
        page.collect()
    }
}

impl RoomMember {
    fn from_present(present: &Present) -> Self {
        Self {
            user: (*present.member.user).into(),
            username: present.member.name().into(),
            connections: present.connections.into(),
            nodes: 1,
            since_ms: present.since_ms,
        }
    }

    /// Adds the same user on other nodes.
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.nodes += other.nodes;
        self.since_ms = self.since_ms.min(other.since_ms);
    }
}

impl<T> ClusterAnswer<Vec<T>> {
    fn map<U>(self, sum: impl FnOnce(Vec<T>) -> U) -> ClusterAnswer<U> {
        ClusterAnswer {
            answer: sum(self.answer),
            complete: self.complete,
        }
    }
}
