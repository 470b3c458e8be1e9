//! The subscriptions of one receiving connection: it begins with all interests of the node, and then performs the changes.
//!
//! The node subscribes to each user, and to each channel as long as it holds no pattern. From the first pattern on, one subscription
//! covers all channels. The node keeps that subscription for a while after it has released the last pattern, because clients with
//! patterns reconnect.

use std::{sync::Arc, time::Duration};

use ahash::{AHashMap, AHashSet};
use fanfare_core::{Audience, Interest};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    ANSWER_TIMEOUT,
    channel_source::ChannelSource,
    interests::{Command, Interests, Leaving, Ticket},
    messages::NodeMessage,
    peers::{self, Kind},
    shared::Shared,
    transport::{Failed, Subject, Subscriber},
};

/// The most subjects in one request.
const SUBJECTS: usize = 1000;
/// The time after which a mark is sent again. A mark is lost without a publishing connection.
const MARK_TIMEOUT: Duration = Duration::from_millis(100);

/// The subscriptions of one receiving connection.
pub(crate) struct Subscriptions<'a> {
    shared: &'a Arc<Shared>,
    source: &'a ChannelSource,
    subscriber: &'a dyn Subscriber,
    /// The channels with a single subscription.
    channels: AHashSet<Interest>,
    /// Whether one subscription covers all channels.
    by_all_channels: bool,
    /// When to unsubscribe from all channels.
    leave_at: Option<Instant>,
}

impl<'a> Subscriptions<'a> {
    /// Subscribes to all interests of the node.
    pub(crate) async fn start(
        shared: &'a Arc<Shared>,
        source: &'a ChannelSource,
        subscriber: &'a dyn Subscriber,
    ) -> Result<Self, Failed> {
        let always = [
            Subject::Audience(Audience::Everyone),
            Subject::Events,
            Subject::Nodes,
            shared.node.own_subject(),
        ];
        subscriber.subscribe(&always).await?;
        let mut this = Self {
            shared,
            source,
            subscriber,
            channels: AHashSet::new(),
            by_all_channels: false,
            leave_at: None,
        };
        let mut wanted = shared.receipts.with_interests(Interests::connected);
        let is_all = |(interest, _): &(Interest, Ticket)| *interest == Interest::AllChannels;
        if wanted.iter().any(is_all) {
            source.start_by_all_channels();
            subscriber.subscribe(&[Subject::AllChannels]).await?;
            this.all_channels_in_force();
            wanted.retain(|(interest, _)| matches!(interest, Interest::User(_)));
        }
        this.subscribe(&wanted).await?;
        // Last, because publishers count this node among the receiving ones from now on.
        let (run, _) = shared.notices.sent();
        let receiving = peers::receiving_subject(&shared.node.id, run, shared.connections().receiving);
        subscriber.subscribe(&[receiving]).await?;
        Ok(this)
    }

    /// Performs the commands until the broker is dropped, or one fails. Returns the reason.
    pub(crate) async fn perform(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Failed {
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
                count = commands.recv_many(&mut batch, 10 * SUBJECTS) => match count {
                    0 => return "the broker was dropped".to_owned(),
                    _ => self.change(&mut batch).await,
                },
                () = leave => self.leave_all_channels().await,
            };
            if let Err(failed) = done {
                return failed;
            }
        }
    }

    /// Performs a batch of commands. Of several for one interest only the last counts, because a repeated subscription changes nothing.
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
                // The subscription to all channels covers it.
                (Interest::Channel(_), Some(_)) if self.by_all_channels => {}
                // It has no single subscription.
                (Interest::Channel(_), None) if !self.channels.contains(&interest) => {}
                (_, Some(ticket)) => wanted.push((interest, ticket)),
                (_, None) => unwanted.push(interest),
            }
        }
        self.subscribe(&wanted).await?;
        release(waiting);
        self.unsubscribe(unwanted).await?;
        match all {
            Some(Some(_)) => self.enter_all_channels(waiting_for_all).await,
            Some(None) => {
                self.leave_at = self.by_all_channels.then(|| Instant::now() + self.shared.linger);
                release(waiting_for_all);
                Ok(())
            }
            None => Ok(()),
        }
    }

    // The changes between single channels and all channels.

    /// Subscribes to all channels instead of single ones.
    async fn enter_all_channels(&mut self, waiting: Vec<oneshot::Sender<()>>) -> Result<(), Failed> {
        self.leave_at = None;
        if !self.by_all_channels {
            self.subscriber.subscribe(&[Subject::AllChannels]).await?;
            self.change_source(true).await?;
            self.all_channels_in_force();
        }
        release(waiting);
        self.unsubscribe_channels().await?;
        self.source.changed();
        Ok(())
    }

    /// Subscribes to single channels instead of all, unless the node holds a pattern again.
    async fn leave_all_channels(&mut self) -> Result<(), Failed> {
        self.leave_at = None;
        loop {
            match self.shared.receipts.with_interests(Interests::leave_all_channels) {
                Leaving::Subscribe(channels) => self.subscribe(&channels).await?,
                Leaving::NotNow => {
                    self.all_channels_in_force();
                    return self.unsubscribe_channels().await;
                }
                Leaving::Left => break,
            }
        }
        self.change_source(false).await?;
        self.by_all_channels = false;
        self.subscriber.unsubscribe(&[Subject::AllChannels]).await?;
        self.source.changed();
        Ok(())
    }

    fn all_channels_in_force(&mut self) {
        self.by_all_channels = true;
        self.shared
            .receipts
            .with_interests(Interests::all_channels_in_force);
    }

    /// Changes the kind of subscription whose copies count, while both are in force.
    async fn change_source(&self, by_all_channels: bool) -> Result<(), Failed> {
        let node = &self.shared.node;
        if !node.transport.has_one_order() {
            self.wait_for_all_nodes().await;
        }
        let mark = rand::random::<u64>();
        let mut changed = self.source.change_at(mark, by_all_channels);
        let again = async {
            loop {
                node.outbox.send_to(&node.id, NodeMessage::Probe(mark));
                if tokio::time::timeout(MARK_TIMEOUT, &mut changed).await.is_ok() {
                    return;
                }
            }
        };
        let marked = tokio::time::timeout(2 * ANSWER_TIMEOUT, again).await;
        // After an error, a new connection begins with one kind.
        marked.map_err(|_| "timed out".to_owned())
    }

    /// Waits for all events that nodes published before the present subscriptions were in force.
    async fn wait_for_all_nodes(&self) {
        let requests = &self.shared.requests;
        let request = requests.begin(Kind::Flush);
        let flush = requests.flush(request.number);
        self.shared.node.outbox.send(Subject::Nodes, flush);
        request.replies().await;
    }

    // Requests to the server.

    async fn subscribe(&mut self, wanted: &[(Interest, Ticket)]) -> Result<(), Failed> {
        for some in wanted.chunks(SUBJECTS) {
            let interests = some.iter().map(|(interest, _)| interest);
            let subjects: Vec<Subject> = interests.clone().map(Subject::from).collect();
            self.subscriber.subscribe(&subjects).await?;
            let channels = interests.filter(|interest| matches!(interest, Interest::Channel(_)));
            self.channels.extend(channels.cloned());
            let receipts = &self.shared.receipts;
            receipts.with_interests(|interests| interests.confirmed(some));
        }
        Ok(())
    }

    async fn unsubscribe(&mut self, unwanted: Vec<Interest>) -> Result<(), Failed> {
        for some in unwanted.chunks(SUBJECTS) {
            let subjects: Vec<Subject> = some.iter().map(Subject::from).collect();
            self.subscriber.unsubscribe(&subjects).await?;
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

/// Reports to the waiting callers that their subscriptions are in force.
fn release(waiting: Vec<oneshot::Sender<()>>) {
    for done in waiting {
        let _ = done.send(());
    }
}
