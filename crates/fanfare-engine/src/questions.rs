//! What the nodes of a cluster ask each other, so that an operator gets one answer for all.

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

/// How often it is looked whether an armed trace has ended.
const ARMED_CHECK: Duration = Duration::from_secs(1);

/// A question to every node. Its form is shared by nodes of different versions: a node that does not know all of it has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    /// How many connections this user has.
    Presence(Box<str>),
    /// Which connections are open.
    Connections(Filter),
    /// Which channels are held: at most `limit`, with names after `after`.
    Channels(NameRange),
    /// Which users are connected: at most `limit`, with ids after `after`.
    Users(NameRange),
    /// What the server has to report under this name ([`super::Reporter`]).
    Report(Box<str>),
    /// Which members of this room are on the node: at most `limit`, with ids after `after`.
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
    /// Which traced events are kept: at most `limit`, those of one order if it is named.
    Traces { order: Option<Uuid>, limit: usize },
    /// What is known of this traced event.
    Trace(Uuid),
}

/// A part of a list of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRange {
    /// Only names after this one.
    pub after: Box<str>,
    /// Only names with this prefix.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub prefix: Box<str>,
    /// At most so many.
    pub limit: usize,
}

/// Something every node should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Notice {
    /// This login session is over.
    SessionTerminated(Box<str>),
}

/// The answers of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered<T> {
    /// The sum of the answers.
    pub answer: T,
    /// Whether every node has answered.
    pub complete: bool,
}

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMember {
    /// The user.
    pub user: Box<str>,
    /// What to call the user.
    pub username: Box<str>,
    /// The user's connections in the room.
    pub connections: u64,
    /// The nodes that hold them.
    pub nodes: u64,
    /// When the first of them entered, in milliseconds of Unix time.
    pub since_ms: u64,
}

/// Names with the number of connections: of channels, those subscribed to exactly that name; of users, their own.
pub type Counts = BTreeMap<Box<str>, u64>;

impl Node {
    /// How many connections `user` has on all nodes.
    pub async fn presence(&self, user: &str) -> Gathered<u64> {
        let asked = self.ask_all::<u64>(&Question::Presence(user.into())).await;
        asked.map(|counts| counts.into_iter().sum())
    }

    /// The open connections of all nodes that `filter` asks for, by id.
    pub async fn connections(&self, filter: Filter) -> Gathered<RowPage> {
        let asked = self.ask_all(&Question::Connections(filter.clone())).await;
        asked.map(|pages| filter.join(pages))
    }

    /// The channels that are held on any node, by name.
    pub async fn channels(&self, names: NameRange) -> Gathered<Counts> {
        let limit = names.limit;
        self.counts(&Question::Channels(names), limit).await
    }

    /// The users that are connected to any node, by id.
    pub async fn online_users(&self, names: NameRange) -> Gathered<Counts> {
        let limit = names.limit;
        self.counts(&Question::Users(names), limit).await
    }

    async fn counts(&self, question: &Question, limit: usize) -> Gathered<Counts> {
        let asked = self.ask_all::<Counts>(question).await;
        asked.map(|each| {
            let mut sums = Counts::new();
            for (name, count) in each.into_iter().flatten() {
                *sums.entry(name).or_default() += count;
            }
            sums.into_iter().take(limit).collect()
        })
    }

    /// What the [`super::Reporter`] of each node says under `name`.
    pub async fn reports<T: DeserializeOwned>(&self, name: &str) -> Gathered<Vec<T>> {
        self.ask_all(&Question::Report(name.into())).await
    }

    /// At most `limit` members of `room` on all nodes, by id, after the id `after`.
    pub async fn room_members(&self, room: &Channel, after: &str, limit: usize) -> Gathered<Vec<RoomMember>> {
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

    /// Ends the connection of that id, wherever it is; answers whether there was one.
    pub async fn end_connection(&self, id: Uuid) -> Gathered<bool> {
        let asked = self.ask_all::<u64>(&Question::End(id)).await;
        asked.map(|ended| ended.into_iter().any(|count| count > 0))
    }

    /// Arms a trace on every node, and has the broker bring this node what it asks for meanwhile, so that an event is recorded
    /// although no node has a connection for it. Returns whether all nodes had room for it.
    pub async fn arm_trace(self: &Arc<Self>, order: TraceOrder) -> Gathered<bool> {
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
                // A trace that has its events ends before its time.
                while let Some(end) = node.observers.traces.armed_until(order.id) {
                    tokio::time::sleep_until(end.min(Instant::now() + ARMED_CHECK)).await;
                }
                drop(guards);
            });
        }
        asked.map(|armed| armed.into_iter().all(|armed| armed))
    }

    /// Ends an armed trace on every node; returns whether it was armed anywhere.
    pub async fn disarm_trace(&self, order: Uuid) -> Gathered<bool> {
        let asked = self.ask_all::<bool>(&Question::Disarm(order)).await;
        asked.map(|disarmed| disarmed.into_iter().any(|disarmed| disarmed))
    }

    /// The traced events of all nodes, the latest first; those of one order, if it is named.
    pub async fn traces(&self, order: Option<Uuid>, limit: usize) -> Gathered<Vec<TraceSummary>> {
        let question = Question::Traces { order, limit };
        let asked = self.ask_all::<Vec<TraceSummary>>(&question).await;
        asked.map(|each| {
            let mut all: Vec<_> = each.into_iter().flatten().collect();
            // Of the records of one event the first counts.
            all.sort_by_key(|one| (one.recorded_at_us, Reverse(one.event.id)));
            let mut known = HashSet::new();
            all.retain(|one| known.insert(one.event.id));
            all.reverse();
            all.truncate(limit);
            all
        })
    }

    /// What each node that has answered knows of the traced event of that id; `None` for one that has no trace of it.
    pub async fn trace(&self, id: Uuid) -> Gathered<Vec<Option<EventTrace>>> {
        self.ask_all(&Question::Trace(id)).await
    }

    /// Ends the connections of this node whose credentials have been revoked.
    pub fn end_refused(&self) {
        for shard in self.shards() {
            shard.send(ShardCommand::EndRefused);
        }
    }

    /// Notifies all nodes that a login session was ended, so that its tokens are refused and its connections end.
    pub fn terminate_session(&self, session: &str) {
        // Written to memory, so there is nothing that could fail.
        let notice = serde_json::to_vec(&Notice::SessionTerminated(session.into())).unwrap_or_default();
        self.broker().broadcast(notice.into());
    }

    async fn ask_all<T: DeserializeOwned>(&self, question: &Question) -> Gathered<Vec<T>> {
        let question = serde_json::to_vec(question).unwrap_or_default(); // as above
        let asked = self.broker().ask(question.into()).await;
        let answers = asked
            .answers
            .iter()
            .map(|answer| serde_json::from_slice(answer).ok());
        let (understood, not): (Vec<_>, Vec<_>) = answers.partition(Option::is_some);
        Gathered {
            answer: understood.into_iter().flatten().collect(),
            complete: asked.complete && not.is_empty(),
        }
    }

    /// Answers a question of any node, this one included. What is not understood is answered by nothing.
    pub(super) async fn answer_question(&self, question: Bytes) -> Bytes {
        let Ok(question) = serde_json::from_slice(&question) else {
            return Bytes::new();
        };
        let answer = match question {
            Question::Presence(user) => serde_json::to_vec(&self.connections_of(&user)),
            Question::Connections(filter) => self.own_connections(filter).await.written(),
            Question::Channels(names) => serde_json::to_vec(&self.own_channels(&names)),
            Question::Users(names) => serde_json::to_vec(&self.own_users(&names)),
            Question::Report(name) => {
                let report = match self.reporter.get() {
                    Some(reporter) => reporter.report(&name).await,
                    None => None,
                };
                return report.unwrap_or_default();
            }
            Question::Room { room, after, limit } => {
                serde_json::to_vec(&self.own_members(&room, &after, limit))
            }
            Question::End(id) => serde_json::to_vec(&self.end_own(id).await),
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

    /// Takes in a notice of any node, this one included.
    pub(super) fn take_notice(&self, notice: &Bytes) {
        match serde_json::from_slice(notice) {
            // What follows from it is up to the accounts.
            Ok(Notice::SessionTerminated(session)) => self.authenticator.revoke_session(&session),
            Err(_) => tracing::debug!("a notice of another node is not understood"),
        }
    }

    async fn own_connections(&self, filter: Filter) -> RowPage {
        let asked = self.ask_shards(|reply| ShardCommand::Rows(filter.clone(), reply));
        filter.join(asked.await.into_iter().flatten())
    }

    fn own_channels(&self, names: &NameRange) -> Counts {
        names.cut(self.interests.channels(), |(name, _)| name, |(_, count)| *count)
    }

    fn own_users(&self, names: &NameRange) -> Counts {
        names.cut(self.users(), |user| user, |user| self.connections_of(user))
    }

    fn own_members(&self, room: &str, after: &str, limit: usize) -> Vec<RoomMember> {
        let Ok(room) = Channel::new(room) else {
            return Vec::new();
        };
        let mut present = self.broker().present(&room);
        present.retain(|one| *one.member.user > *after);
        present.sort_unstable_by(|a, b| a.member.user.cmp(&b.member.user));
        let present = present.iter().take(limit);
        present.map(RoomMember::on_one_node).collect()
    }

    async fn end_own(&self, id: Uuid) -> u64 {
        let ended = self.ask_shards(|reply| ShardCommand::End(id, reply)).await;
        ended.into_iter().flatten().sum()
    }
}

impl NameRange {
    /// Those of `all` that it asks for, each with its count.
    fn cut<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> &str, count: impl Fn(&T) -> usize) -> Counts {
        all.retain(|own| *name(own) > *self.after && name(own).starts_with(&*self.prefix));
        if all.len() > self.limit {
            // The page is put in order by its map; the rest need none.
            all.select_nth_unstable_by(self.limit, |a, b| name(a).cmp(name(b)));
            all.truncate(self.limit);
        }
        let page = all.iter().map(|own| (name(own).into(), count(own) as u64));
        page.collect()
    }
}

impl RoomMember {
    fn on_one_node(present: &Present) -> Self {
        Self {
            user: (*present.member.user).into(),
            username: present.member.name().into(),
            connections: present.connections.into(),
            nodes: 1,
            since_ms: present.since_ms,
        }
    }

    /// The same user on other nodes.
    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.nodes += other.nodes;
        self.since_ms = self.since_ms.min(other.since_ms);
    }
}

impl<T> Gathered<Vec<T>> {
    fn map<U>(self, sum: impl FnOnce(Vec<T>) -> U) -> Gathered<U> {
        Gathered {
            answer: sum(self.answer),
            complete: self.complete,
        }
    }
}
