//! What one listening connection is subscribed to: asked for at its start, and changed as the node's interests change.
//!
//! Users are asked for one by one, and so are channels, as long as the node holds no pattern. From the first pattern on
//! all channels come by one pattern subscription. It is kept for a while after the last pattern has gone, since clients
//! that hold patterns come back.

use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use fanfare_core::Interest;
use redis::aio::PubSubSink;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    ANSWER_TIMEOUT, Shared,
    control::{self, Control},
    held::{Leaving, Ticket},
    publisher::Notice,
    source::Source,
};
use crate::wire;

/// Names in one `SUBSCRIBE` or `UNSUBSCRIBE`.
const NAMES: usize = 1000;
/// How long a mark may take before it is sent again; one is lost when the publishing connection is away.
const MARK_TIMEOUT: Duration = Duration::from_millis(100);

/// What the ledger wants of this connection.
pub(super) enum Command {
    /// Listen for this, and say so when that is in force.
    Subscribe(Interest, Ticket, oneshot::Sender<()>),
    /// Do not any more.
    Unsubscribe(Interest),
}

/// Why the connection cannot be used any more.
type Failed = String;

/// See the module's words.
pub(super) struct Subscriptions<'a> {
    shared: &'a Shared,
    source: &'a Source,
    sink: PubSubSink,
    /// The channels asked for one by one.
    channels: AHashSet<Interest>,
    /// Whether all channels come by the pattern.
    by_pattern: bool,
    /// When to do without the pattern.
    leave_at: Option<Instant>,
}

impl<'a> Subscriptions<'a> {
    /// Subscribes to all that is wanted.
    pub(super) async fn start(
        shared: &'a Shared,
        source: &'a Source,
        mut sink: PubSubSink,
    ) -> Result<Self, Failed> {
        let own = control::channel_of(&shared.node_id);
        let always = [wire::EVERYONE, wire::EVENTS, control::NODES, &own];
        sink.subscribe(&always[..])
            .await
            .map_err(|error| shared.address.describe(&error))?;
        let mut this = Self {
            shared,
            source,
            sink,
            channels: AHashSet::new(),
            by_pattern: false,
            leave_at: None,
        };
        let mut wanted = shared.ledger.connected();
        shared.tellings.connected();
        if wanted
            .iter()
            .any(|(interest, _)| *interest == Interest::AllChannels)
        {
            source.start_by_pattern();
            this.subscribe_to_pattern().await?;
            this.pattern_in_force();
            wanted.retain(|(interest, _)| matches!(interest, Interest::User(_)));
        }
        this.subscribe(&wanted).await?;
        Ok(this)
    }

    /// Carries out what the ledger wants changed, until the broker is dropped.
    pub(super) async fn obey(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Failed {
        let mut batch = Vec::new();
        loop {
            let leave_at = self.leave_at;
            let leave = async {
                match leave_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                count = commands.recv_many(&mut batch, 10 * NAMES) => match count {
                    0 => return "the broker was dropped".to_owned(),
                    _ => self.change(&mut batch).await,
                },
                () = leave => self.leave_pattern().await,
            };
            if let Err(failed) = done {
                return failed;
            }
        }
    }

    /// Carries out a batch of commands. Of several for one interest the last one counts: asking for what one has is
    /// harmless.
    async fn change(&mut self, batch: &mut Vec<Command>) -> Result<(), Failed> {
        let mut last: AHashMap<Interest, Option<Ticket>> = AHashMap::with_capacity(batch.len());
        let (mut waiting, mut waiting_for_all) = (Vec::with_capacity(batch.len()), Vec::new());
        for command in batch.drain(..) {
            match command {
                Command::Subscribe(interest, ticket, done) => {
                    let is_all = interest == Interest::AllChannels;
                    if is_all {
                        &mut waiting_for_all
                    } else {
                        &mut waiting
                    }
                    .push(done);
                    last.insert(interest, Some(ticket));
                }
                Command::Unsubscribe(interest) => {
                    last.insert(interest, None);
                }
            }
        }
        let all = last.remove(&Interest::AllChannels);
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for (interest, ticket) in last {
            match (&interest, ticket) {
                // It comes already, by the pattern.
                (Interest::Channel(_), Some(_)) if self.by_pattern => {}
                // It comes by the pattern, if at all.
                (Interest::Channel(_), None) if !self.channels.contains(&interest) => {}
                (_, Some(ticket)) => wanted.push((interest, ticket)),
                (_, None) => unwanted.push(interest),
            }
        }
        self.subscribe(&wanted).await?;
        release(waiting);
        self.unsubscribe(unwanted).await?;
        match all {
            Some(Some(_)) => self.enter_pattern(waiting_for_all).await,
            Some(None) => {
                self.leave_at = self.by_pattern.then(|| Instant::now() + self.shared.linger);
                release(waiting_for_all);
                Ok(())
            }
            None => Ok(()),
        }
    }

    // Between channels one by one and the pattern.

    /// Takes all channels' events by the pattern from now on, if it was not so before.
    async fn enter_pattern(&mut self, waiting: Vec<oneshot::Sender<()>>) -> Result<(), Failed> {
        self.leave_at = None;
        if !self.by_pattern {
            self.subscribe_to_pattern().await?;
            self.change_source(true).await?;
            self.pattern_in_force();
        }
        release(waiting);
        self.unsubscribe_channels().await
    }

    /// Takes channels' events one by one from now on, unless a pattern is held again.
    async fn leave_pattern(&mut self) -> Result<(), Failed> {
        self.leave_at = None;
        loop {
            match self.shared.ledger.leave_pattern() {
                Leaving::Ask(channels) => self.subscribe(&channels).await?,
                Leaving::NotNow => {
                    self.pattern_in_force();
                    return self.unsubscribe_channels().await;
                }
                Leaving::Left => break,
            }
        }
        self.change_source(false).await?;
        self.by_pattern = false;
        let pattern = wire::redis_channel(&Interest::AllChannels);
        self.sink
            .punsubscribe(pattern)
            .await
            .map_err(|error| self.failed(&error))
    }

    fn pattern_in_force(&mut self) {
        self.by_pattern = true;
        self.shared.ledger.pattern_in_force();
    }

    /// While both kinds of subscription are in force, has the other kind of copy count.
    async fn change_source(&self, by_pattern: bool) -> Result<(), Failed> {
        let mark = rand::random::<u64>();
        let mut changed = self.source.change_at(mark, by_pattern);
        let again = async {
            loop {
                self.shared
                    .notify(Notice::to_node(&self.shared.node_id, &Control::Mark(mark)));
                if tokio::time::timeout(MARK_TIMEOUT, &mut changed).await.is_ok() {
                    return;
                }
            }
        };
        let marked = tokio::time::timeout(2 * ANSWER_TIMEOUT, again).await;
        // A new connection knows from its start which kind counts.
        marked.map_err(|_| "timed out".to_owned())
    }

    // What Redis is told.

    fn failed(&self, error: &redis::RedisError) -> Failed {
        self.shared.address.describe(error)
    }

    async fn subscribe_to_pattern(&mut self) -> Result<(), Failed> {
        let pattern = wire::redis_channel(&Interest::AllChannels);
        self.sink
            .psubscribe(pattern)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn subscribe(&mut self, wanted: &[(Interest, Ticket)]) -> Result<(), Failed> {
        for some in wanted.chunks(NAMES) {
            let interests = some.iter().map(|(interest, _)| interest);
            let names: Vec<String> = interests.clone().map(wire::redis_channel).collect();
            self.sink
                .subscribe(names)
                .await
                .map_err(|error| self.failed(&error))?;
            let channels = interests.filter(|interest| matches!(interest, Interest::Channel(_)));
            self.channels.extend(channels.cloned());
            self.shared.ledger.confirmed(some);
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, unwanted: Vec<Interest>) -> Result<(), Failed> {
        for some in unwanted.chunks(NAMES) {
            let names: Vec<String> = some.iter().map(wire::redis_channel).collect();
            self.sink
                .unsubscribe(names)
                .await
                .map_err(|error| self.failed(&error))?;
            for interest in some {
                self.channels.remove(interest);
            }
        }
        Ok(())
    }

    async fn unsubscribe_channels(&mut self) -> Result<(), Failed> {
        let channels = std::mem::take(&mut self.channels);
        self.unsubscribe(channels.into_iter().collect()).await
    }
}

/// Tells those who wait that what they wait for is in force.
fn release(waiting: Vec<oneshot::Sender<()>>) {
    for done in waiting {
        let _ = done.send(());
    }
}
