//! The election of the recorder, and the connection by which a candidate receives all plain publications.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use ahash::AHashMap;
use fanfare_core::{Audience, Event, UserId};
use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;

use super::{Recorder, queue::PlainQueue};
use crate::{
    ANSWER_TIMEOUT,
    deliveries::ITEM_OVERHEAD,
    messages::NodeMessage,
    status::Refused,
    transport::{
        Failed, Message, Received, Receiver, RecorderStore, Subject, WantedId,
        journal::JournalStore,
        recorder::{Recorded, Role, TickRequest, Ticked},
    },
    wire::{self, Envelope, encode},
};

/// The interval between two requests of a candidate, or of a node that waits for ticks. The store counts one tick in this time.
pub(super) const PACE: Duration = Duration::from_millis(150);
/// The interval between two requests of any other node, in paces: about a second. So a vacant lease is noticed soon, and a thousand nodes make a
/// thousand calls of Redis a second.
const IDLE_PACES: u32 = 7;
/// The ticks that may be missing before the connection is closed: three seconds, longer than any other check of a connection takes.
const MISSED_TICKS: u64 = 20;
/// The messages that are read from the connection at once. The lease is renewed between two batches.
const BATCH: usize = 256;
/// The messages that are recorded by one call, which blocks Redis: as many as a node publishes by one call.
const RECORDED: usize = 64;
/// The calls between two renewals of the lease, which lasts about half a second: even a slow Redis takes less than 50 ms for each.
const CALLS: usize = 8;
/// The most bytes of publications that may wait to be recorded. Above it the connection is closed. It is half of the backlog of deliveries, because
/// all copies pass through that.
const MAX_WAITING: usize = 32 << 20;

/// Takes part in the election, and delivers given up publications, until the broker is dropped.
pub(crate) async fn run(recorder: Arc<Recorder>) {
    if !recorder.is_needed {
        return;
    }
    tokio::join!(elect(&recorder), recorder.release());
}

async fn elect(recorder: &Recorder) {
    // At the start the node becomes a candidate at once, without asking whether one is needed.
    let _ = recorder.node.link.changes().wait_for(Option::is_some).await;
    let (mut is_wanted, mut idle) = (true, 0);
    loop {
        if is_wanted && recorder.node.inbound.keeps_history() && !recorder.is_closing.load(Relaxed) {
            if let Err(error) = feed(recorder).await {
                tracing::debug!(error, "the connection for publications of backends has ended");
            }
            recorder.release_lease().await;
            idle = IDLE_PACES;
        }
        tokio::time::sleep(PACE).await;
        is_wanted = false;
        idle = idle.saturating_sub(1);
        if recorder.node.inbound.keeps_history() && (idle == 0 || recorder.is_waiting()) {
            let answer = recorder.tick(TickRequest::default()).await;
            let role = answer.as_ref().map(|ticked| ticked.role);
            is_wanted = matches!(role, Ok(Role::None(true)));
            idle = if answer.is_ok() { IDLE_PACES } else { 0 };
        }
    }
}

impl Recorder {
    /// Requests a tick of the store. Without an answer, this node does not wait for ticks.
    pub(super) async fn tick(&self, request: TickRequest) -> Result<Ticked, Failed> {
        let losses = self.losses.load(Relaxed);
        let request = TickRequest {
            has_lost: losses > self.raised.load(Relaxed),
            text: (r#"{"tick":["#, "]}"),
            ..request
        };
        let ask = self.node.ask_journal(&request, |journal, request| {
            Box::pin(async move { recorder_store(journal)?.tick(request).await })
        });
        let answer = ask.await;
        self.answered(answer.is_ok());
        if let Ok(ticked) = &answer {
            self.raised.fetch_max(losses, Relaxed);
            self.settling.is_used.store(ticked.is_used, Relaxed);
        }
        answer
    }

    /// Releases the lease if this node is a candidate.
    async fn release_lease(&self) {
        let candidate = self.candidate.swap(0, Relaxed);
        if candidate == 0 {
            return;
        }
        let request = TickRequest {
            candidate: Some(candidate),
            leaves: true,
            ..TickRequest::default()
        };
        // If the store does not answer, the lease expires.
        let _ = self.tick(request).await;
    }

    /// Releases the lease and ends the candidacy, so that another node records.
    pub(crate) async fn close(&self) {
        self.is_closing.store(true, Relaxed);
        self.release_lease().await;
    }
}

/// The plain publications that a candidate has received, and its term.
struct Feed<'a> {
    recorder: &'a Recorder,
    queue: PlainQueue<FeedState>,
    /// The publications with lower numbers in the queue are recorded.
    next: u64,
    bytes: usize,
    since: Instant,
    /// The last tick that has arrived.
    tick: u64,
    /// The last tick before this node began to receive.
    first_tick: Option<u64>,
    term: Option<RecorderTerm>,
    /// It is unknown which publications were recorded, so the term must end.
    is_uncertain: bool,
}

/// The state of a publication in the feed.
struct FeedState {
    /// Its share of [`MAX_WAITING`]: the event holds its whole payload.
    bytes: usize,
    /// The last tick before it arrived.
    tick: u64,
    /// It is recorded, and its copy has not arrived.
    is_recorded: bool,
    /// Its publisher chose its id, and no earlier event had that id.
    is_claimed: bool,
}

/// The term of this node as the recorder.
struct RecorderTerm {
    number: u64,
    /// The tick at which it begins: copies of the last term arrive before it.
    begins: u64,
    /// See [`Ticked::from`].
    from: u64,
    has_begun: bool,
}

/// Receives all plain publications, and records them while this node holds the lease.
///
/// # Errors
/// If the connection ends, or cannot be opened.
async fn feed(recorder: &Recorder) -> Result<(), Failed> {
    let since = Instant::now();
    let opened = tokio::time::timeout(ANSWER_TIMEOUT, recorder.node.transport.open_receiver()).await;
    let Receiver {
        subscriber, messages, ..
    } = opened.map_err(|_| "timed out")??;
    let subscribed = subscriber.subscribe(&subjects(recorder)).await;
    subscribed.inspect_err(|error| recorder.node.status.refused(Refused::Recording, error))?;
    recorder
        .candidate
        .store(rand::random_range(1..=u64::MAX), Relaxed);
    let mut feed = Feed {
        recorder,
        queue: PlainQueue::default(),
        next: 0,
        bytes: 0,
        since,
        tick: 0,
        first_tick: None,
        term: None,
        is_uncertain: false,
    };
    let mut batches = messages.ready_chunks(BATCH);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut has_users, mut is_behind) = (records_users(recorder), false);
    loop {
        tokio::select! {
            biased;
            _ = pace.tick() => {
                if !feed.renew().await? {
                    return Ok(());
                }
                // Users' history was turned on. Nodes give up the publications that they hold from before.
                if !has_users && records_users(recorder) {
                    has_users = true;
                    let subscribed = tokio::time::timeout(ANSWER_TIMEOUT, subscriber.subscribe(&[Subject::AllUsers]));
                    subscribed.await.map_err(|_| "timed out")??;
                }
            }
            batch = batches.next() => feed.read(batch.ok_or("connection lost")?),
            () = std::future::ready(()), if is_behind => {}
        }
        is_behind = feed.record().await;
        if feed.bytes > MAX_WAITING {
            return Err("this node cannot keep up with what is published".to_owned());
        }
    }
}

/// Returns the subjects that a candidate subscribes to.
fn subjects(recorder: &Recorder) -> Vec<Subject> {
    let mut subjects = vec![
        Subject::AllChannels,
        Subject::Audience(Audience::Everyone),
        Subject::Events,
        Subject::Nodes,
    ];
    if records_users(recorder) {
        subjects.push(Subject::AllUsers);
    }
    subjects
}

fn records_users(recorder: &Recorder) -> bool {
    let any = UserId::new("any").map(Audience::User);
    any.is_ok_and(|user| recorder.records(&user))
}

impl Feed<'_> {
    /// Renews the lease, or acquires it. Returns whether this node is still a candidate.
    async fn renew(&mut self) -> Result<bool, Failed> {
        let candidate = self.recorder.candidate.load(Relaxed);
        if candidate == 0 || !self.recorder.node.inbound.keeps_history() {
            return Ok(false);
        }
        let has_begun = self.term.as_ref().is_some_and(|term| term.has_begun);
        let request = TickRequest {
            candidate: Some(candidate),
            settled: if has_begun { self.settled() } else { 0 },
            renews_term: self.is_uncertain,
            ..TickRequest::default()
        };
        let ticked = match self.recorder.tick(request).await {
            Ok(ticked) => ticked,
            Err(_) if self.term.is_some() => {
                self.make_uncertain(); // the answer may have begun another term
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let first = *self.first_tick.get_or_insert(ticked.tick);
        if ticked.tick > self.tick.max(first) + MISSED_TICKS {
            return Err("nothing arrives although it is connected".to_owned());
        }
        match ticked.role {
            Role::None(_) => return Ok(false),
            Role::Standby => {
                (self.term, self.is_uncertain) = (None, false);
                self.drop_if(|waiting| waiting.tick < ticked.settled);
            }
            Role::Holder => {
                let is_new = self.term.as_ref().is_none_or(|term| term.number != ticked.term);
                if is_new {
                    self.term = Some(RecorderTerm {
                        number: ticked.term,
                        begins: ticked.tick,
                        from: ticked.from,
                        has_begun: false,
                    });
                }
                self.is_uncertain &= !is_new;
            }
        }
        Ok(true)
    }

    /// Returns the tick before which everything is recorded.
    fn settled(&self) -> u64 {
        let mut waiting = self.queue.range(self.next..);
        let first = waiting.find(|(_, plain)| !plain.state.is_recorded);
        first.map_or(self.tick, |(_, plain)| plain.state.tick)
    }

    /// Stops recording until a new term begins, because it is unknown which publications were recorded.
    fn make_uncertain(&mut self) {
        self.is_uncertain = true;
        if let Some(term) = &mut self.term {
            term.has_begun = false;
            term.begins = u64::MAX;
        }
    }

    fn drop_if(&mut self, is_over: impl Fn(&FeedState) -> bool) {
        for plain in self.queue.take_all(is_over) {
            self.bytes -= plain.state.bytes;
        }
    }

    // Arrivals.

    fn read(&mut self, batch: Vec<Received>) {
        let now = SystemTime::now();
        let mut declined: AHashMap<Box<str>, Vec<u64>> = AHashMap::new();
        for Received {
            subject,
            payload,
            is_sharded,
            ..
        } in batch
        {
            if payload.len() > wire::MAX_BYTES || is_sharded {
                continue;
            }
            match subject {
                Ok(Subject::Nodes) => {
                    if let Ok((NodeMessage::Tick(tick, _), _)) = NodeMessage::read(&payload) {
                        self.ticked(tick);
                    }
                }
                Ok(Subject::Audience(audience)) => match wire::parse_event(audience, &payload, now) {
                    Ok((event, None)) => self.wait(event, payload.len()),
                    Ok((copy, Some(Envelope { recorded: true, .. }))) => {
                        if let Some(plain) = self.queue.take(&copy) {
                            if plain.event.named {
                                self.recorder.claimed.published(plain.event.id);
                            }
                            self.bytes -= plain.state.bytes;
                        }
                    }
                    // The server counts this connection among the receivers.
                    Ok((_, Some(envelope))) if envelope.reply || envelope.node == self.recorder.node.id => {
                        declined.entry(envelope.node).or_default().extend(envelope.number);
                    }
                    _ => {}
                },
                Ok(Subject::Events) => {
                    let events = wire::parse_publication(&payload, now).unwrap_or_default();
                    // They share the payload.
                    let bytes = payload.len() / events.len().max(1);
                    for event in events {
                        self.wait(event, bytes);
                    }
                }
                _ => {}
            }
        }
        for (node, numbers) in declined {
            if node == self.recorder.node.id {
                self.recorder.receipts.declined(&numbers);
            } else {
                let outbox = &self.recorder.node.outbox;
                outbox.send_to(&node, NodeMessage::Declined(numbers));
            }
        }
    }

    fn wait(&mut self, event: Event, payload_bytes: usize) {
        if self.recorder.records_event(&event) {
            let bytes = payload_bytes + ITEM_OVERHEAD;
            self.bytes += bytes;
            let waiting = FeedState {
                bytes,
                tick: self.tick,
                is_recorded: false,
                is_claimed: false,
            };
            self.queue.push(event, self.since, waiting);
        }
    }

    fn ticked(&mut self, tick: u64) {
        self.tick = tick;
        if let Some(term) = &mut self.term
            && !term.has_begun
            && tick >= term.begins
        {
            term.has_begun = true;
            let from = term.from;
            self.drop_if(|waiting| waiting.tick < from);
            self.next = 0;
            for plain in self.queue.iter_mut() {
                // The copies of the last term have arrived, so these are not recorded.
                plain.state.is_recorded = false;
            }
        }
    }

    // Recording.

    /// Records some publications, if this node's term has begun. Returns whether there may be more.
    async fn record(&mut self) -> bool {
        for _ in 0..CALLS {
            let begun = self.term.as_ref().filter(|term| term.has_begun);
            let Some(term) = begun.map(|term| term.number) else {
                return false;
            };
            let first = self
                .queue
                .range(self.next..)
                .find(|(_, plain)| !plain.state.is_recorded)
                .map(|(number, plain)| (number, plain.state.tick));
            let Some((first, tick)) = first else {
                return false;
            };
            let some = self.queue.range(first..).take(RECORDED);
            let numbers: Vec<u64> = some
                .take_while(|(_, plain)| plain.state.tick == tick)
                .map(|(number, _)| number)
                .collect();
            if self.claim(&numbers).await {
                continue;
            }
            let events = numbers.iter().filter_map(|number| self.queue.get(*number));
            let messages: Vec<Message> = events.filter_map(|plain| self.message(&plain.event)).collect();
            match self.store(term, tick, &messages).await {
                Ok(Recorded::Published) => {
                    self.recorder.recorded.fetch_add(messages.len() as u64, Relaxed);
                    for number in numbers {
                        if let Some(plain) = self.queue.get_mut(number) {
                            plain.state.is_recorded = true;
                        }
                        self.next = number + 1;
                    }
                }
                Ok(Recorded::Late) => self.drop_if(|waiting| !waiting.is_recorded && waiting.tick <= tick),
                Ok(Recorded::TermOver) => self.term = None,
                Err(error) => {
                    self.recorder.node.status.refused(Refused::Journal, &error);
                    self.make_uncertain();
                }
            }
        }
        true
    }

    /// Claims the ids that publishers chose for these publications, and removes duplicates. Returns whether there were any.
    async fn claim(&mut self, numbers: &[u64]) -> bool {
        let wanted = |number: u64| {
            let plain = self.queue.get(number)?;
            let id = WantedId {
                id: plain.event.id,
                receiving_since: Some(plain.since),
            };
            (plain.event.named && !plain.state.is_claimed).then_some((number, id))
        };
        let (named, ids): (Vec<u64>, Vec<WantedId>) =
            numbers.iter().filter_map(|number| wanted(*number)).unzip();
        let claimed = &self.recorder.claimed;
        let are_new = self.recorder.ids.claim_together_by(claimed, &ids).await;
        let mut any_removed = false;
        for (number, is_new) in named.into_iter().zip(are_new) {
            if is_new {
                if let Some(plain) = self.queue.get_mut(number) {
                    plain.state.is_claimed = true;
                }
            } else if let Some(plain) = self.queue.remove(number) {
                any_removed = true;
                self.bytes -= plain.state.bytes;
            }
        }
        any_removed
    }

    fn message(&self, event: &Event) -> Option<Message> {
        let node = &self.recorder.node;
        let envelope = Envelope {
            node: node.id.clone(),
            number: None,
            reply: false,
            presence: None,
            recorded: true,
        };
        Some(Message {
            subject: Subject::Audience(event.audience.clone()),
            payload: encode(event, &envelope),
            id: event.named.then_some(event.id),
            keep: Some(node.inbound.retention(&event.audience)?),
        })
    }

    async fn store(&self, term: u64, tick: u64, messages: &[Message]) -> Result<Recorded, Failed> {
        let node = &self.recorder.node;
        node.ask_journal(&(term, tick, messages), |journal, (term, tick, messages)| {
            Box::pin(async move { recorder_store(journal)?.record(*term, *tick, messages).await })
        })
        .await
    }
}

fn recorder_store(journal: &dyn JournalStore) -> Result<&dyn RecorderStore, Failed> {
    Ok(journal.recorder().ok_or("there is no recorder")?)
}
