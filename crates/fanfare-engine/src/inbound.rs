//! The calls of the broker to this node.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
    time::Instant,
};

use bytes::Bytes;
use fanfare_core::{
    Audience, BoxFuture, BrokerError, Channel, Entered, EntryTicket, Event, Gap, Inbound, Member, Presence,
    Reach, Sender, ShardSet, history::Retention,
};
use tokio::sync::oneshot;

use super::{Node, Prepared, batch::Batch, clock::unix_micros, command::ShardCommand, entries, spans::Spans};

impl Inbound for Node {
    fn deliver(&self, events: Vec<Event>) -> BoxFuture<'static, Vec<Reach>> {
        self.counters.events.fetch_add(events.len() as u64, Relaxed);
        let (arrived, delivery) = (Instant::now(), self.counters.delivery.clone());
        let spans = Spans::of(self.span_recorder.get(), events.iter(), |recorder, event| {
            recorder.deliver(event, &self.access)
        });
        // Outside of the future, so that the order of calls is the order of delivery.
        let reached = self.distribute(events, arrived);
        Box::pin(async move {
            let reached = reached.await.unwrap_or_default();
            // Batches without receivers are done at once, and would hide the time of the others.
            if reached.iter().any(|reach| reach.matched > 0) {
                delivery.observe(arrived.elapsed());
            }
            spans.end(&reached);
            reached
        })
    }

    fn received(&self, publications: u64) {
        self.counters
            .publications_received
            .fetch_add(publications, Relaxed);
    }

    fn rejected(&self) {
        self.counters.publications_rejected.fetch_add(1, Relaxed);
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async {
            let answers = self.ask_shards(ShardCommand::Probe).await;
            let is_complete = !answers.contains(&None);
            is_complete.then_some(()).ok_or(BrokerError::Away)
        })
    }

    fn answer(&self, question: Bytes) -> BoxFuture<'_, Bytes> {
        Box::pin(self.answer_question(question))
    }

    fn on_notice(&self, notice: Bytes) {
        self.handle_notice(&notice);
    }

    fn retention(&self, audience: &Audience) -> Option<Retention> {
        self.access.retention(audience)
    }

    fn keeps_history(&self) -> bool {
        self.access.keeps_history()
    }

    fn on_gap(&self, gap: Gap) {
        for shard in self.shards() {
            shard.send(ShardCommand::Missed(gap.clone()));
        }
    }

    fn entered(&self, ticket: EntryTicket, entered: Entered) {
        if let Some(shard) = self.shards().get(entries::shard_of(ticket)) {
            shard.send(ShardCommand::Entered(ticket, entered));
        }
    }

    // If the dialect panics, the change is not announced.
    fn announcement(&self, change: Presence, room: &Channel, member: &Member) -> Option<Event> {
        let mounted = self.dialects.iter().find(|own| own.name == &*member.dialect)?;
        let announce = AssertUnwindSafe(|| mounted.dialect.announce(change, member));
        let Ok(announcement) = catch_unwind(announce) else {
            tracing::error!(
                dialect = mounted.name,
                "a panic while announcing a member of a room"
            );
            return None;
        };
        let announcement = announcement?;
        let sender = Sender {
            username: member.username.clone(),
            ..*Sender::new(&member.user)
        };
        let audience = Audience::Channel(room.clone());
        let event = Event {
            sender: Some(Box::new(sender)),
            ..Event::new(
                audience,
                Some(announcement.kind),
                announcement.data,
                self.clock.wall(),
            )
        };
        self.record_entry("presence", Some(mounted.name), std::slice::from_ref(&event));
        Some(event)
    }
}

impl Node {
    /// Sends each shard its part of `events`. Resolves with their reach when all parts are done.
    fn distribute(&self, events: Vec<Event>, arrived: Instant) -> oneshot::Receiver<Vec<Reach>> {
        let handles = self.shards();
        let traced = if self.observers.is_watching() {
            self.observers.received(self.id, &events, self.clock.wall())
        } else {
            Vec::new()
        };
        let mut shares = vec![Vec::new(); handles.len()];
        let mut prepared = Vec::with_capacity(events.len());
        for (at, event) in (0u32..).zip(events) {
            let concerned = match &event.audience {
                Audience::Everyone => ShardSet::first(handles.len()),
                // A single shard finds the same by its index, for less work.
                Audience::User(_) if handles.len() == 1 => ShardSet::first(1),
                Audience::User(user) => self.interests.shards_of_user(user),
                Audience::Channel(channel) => self.interests.shards_of_channel(channel),
            };
            for (shard, share) in shares.iter_mut().enumerate() {
                if concerned.contains(shard) {
                    share.push(at);
                }
            }
            prepared.push(Prepared::new(event, self.dialects.len()));
        }
        for (at, traced) in &traced {
            let concerned = shares.iter().filter(|share| share.contains(at)).count();
            traced.received(unix_micros(self.clock.wall()), concerned);
        }
        let (parts, reached) = Batch::split(prepared, shares, traced, arrived);
        for (shard, part) in parts {
            handles[shard].send(ShardCommand::Deliver(part));
        }
        reached
    }
}
