//! The task of the receiving connection: opens it, subscribes, reads and checks, and opens it again when it is lost.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{BrokerError, history::History};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::sync::mpsc;

use crate::{
    ANSWER_TIMEOUT,
    arrivals::ArrivedEvent,
    backoff::Backoff,
    channel_source::ChannelSource,
    deliveries::Item,
    interests::Command,
    link::CHECK_INTERVAL,
    messages::{NodeMessage, Report},
    reports,
    shared::Shared,
    status::Side,
    subscriptions::Subscriptions,
    transport::{Received, Receiver, Subject, Subscriber, recorder::BEGINS_ANEW},
    wire::{self, Rejected},
};

/// The most messages to read in one batch.
const BATCH: usize = 256;
/// The number of checks for each probe, which is a message through the transport and back.
const CHECKS_PER_PROBE: u32 = 3;
/// The number of consecutive failed probes after which the connection is closed, even if the server answers on it.
const FAILED_PROBES: u32 = 2;

/// Opens the receiving connection, and opens it again whenever it is lost.
pub(crate) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut backoff = Backoff::default();
    loop {
        shared.node.deliveries.wait_for_room().await;
        let since = Instant::now();
        let attempt = tokio::time::timeout(ANSWER_TIMEOUT, shared.node.transport.open_receiver());
        let error = match attempt.await {
            Ok(Ok(Receiver {
                subscriber,
                messages,
                further,
            })) => {
                shared.node.status.opened();
                shared.gaps.lost(); // also for audiences that were added since the last connection
                let (subscriber, source) = (
                    &*subscriber,
                    ChannelSource::new(shared.node.transport.has_one_order()),
                );
                let error = tokio::select! {
                    // Reading comes first, so that messages that have arrived are not lost with the connection.
                    biased;
                    error = read(&shared, &source, messages, since) => error,
                    error = subscribe(&shared, &source, subscriber, &mut commands, &mut backoff) => error,
                    error = watch(&shared, subscriber) => error,
                    never = shared.node.status.follow(further) => match never {},
                };
                shared.gaps.lost();
                shared.recorder.lost();
                shared.receipts.lost();
                shared.presence.set_receiving(false);
                shared.peers.lost();
                // The others receive it if the publishing connection still works.
                reports::send(&shared, Subject::Nodes, false, false);
                shared.requests.lost();
                // No command is sent without a connection. The next connection subscribes to all interests.
                while commands.try_recv().is_ok() {}
                error
            }
            Ok(Err(error)) => error,
            Err(_) => "timed out".to_owned(),
        };
        shared.node.status.down(Side::Receiving, error);
        backoff.wait().await;
    }
}

/// Checks the connection periodically. Returns the reason why it does not work.
async fn watch(shared: &Shared, subscriber: &dyn Subscriber) -> String {
    let mut failed_probes = 0;
    for count in 1_u32.. {
        tokio::time::sleep(CHECK_INTERVAL).await;
        // The server's reply follows all messages that it has sent before.
        match tokio::time::timeout(ANSWER_TIMEOUT * 3 / 2, subscriber.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return "timed out".to_owned(),
        }
        if count % CHECKS_PER_PROBE == 0 {
            match shared.probes.observed().await {
                Err(BrokerError::TimedOut) => failed_probes += 1,
                _ => failed_probes = 0,
            }
        }
        if failed_probes == FAILED_PROBES {
            break;
        }
    }
    "nothing arrives although it is connected".to_owned()
}

/// Subscribes to all interests, then performs the changes. Returns the reason why that failed.
async fn subscribe(
    shared: &Arc<Shared>,
    source: &ChannelSource,
    subscriber: &dyn Subscriber,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    backoff: &mut Backoff,
) -> String {
    match Subscriptions::start(shared, source, subscriber).await {
        Ok(mut subscriptions) => {
            shared.node.status.up(Side::Receiving);
            backoff.reset();
            shared.peers.connected();
            shared.gaps.in_force();
            shared.recorder.in_force();
            shared.presence.set_receiving(true);
            reports::send(shared, Subject::Nodes, true, true);
            subscriptions.perform(commands).await
        }
        Err(error) => error,
    }
}

/// Handles the messages that arrive. Returns the reason why the connection ended.
async fn read(
    shared: &Shared,
    source: &ChannelSource,
    messages: BoxStream<'static, Received>,
    since: Instant,
) -> String {
    let mut batches = messages.ready_chunks(BATCH);
    while let Some(messages) = batches.next().await {
        let now = SystemTime::now();
        for message in messages {
            if let Err(reason) = take(shared, source, message, (since, now)) {
                shared.node.inbound.rejected();
                shared.node.status.rejected(reason);
            }
        }
        if shared.node.deliveries.is_full() {
            return "this node cannot keep up with what is published".to_owned();
        }
    }
    "connection lost".to_owned()
}

/// Handles one message, which arrived `now` on a connection that was opened at `since`.
fn take(
    shared: &Shared,
    source: &ChannelSource,
    message: Received,
    (since, now): (Instant, SystemTime),
) -> Result<(), Rejected> {
    let Received {
        subject,
        by_all_channels,
        is_sharded,
        payload,
        version,
        position,
    } = message;
    if payload.len() > wire::MAX_BYTES {
        return Err(Rejected::TooLarge);
    }
    let subject = match subject {
        Ok(Subject::Nodes | Subject::Node(_)) => {
            let (message, body) = NodeMessage::read(&payload)?;
            handle(shared, source, message, body);
            return Ok(());
        }
        Ok(Subject::Audience(audience)) if !source.counts(&audience, by_all_channels, &payload) => {
            if let Ok((_, Some(envelope))) = wire::parse_event(audience, &payload, now) {
                shared.arrivals.decline(&envelope);
            }
            return Ok(());
        }
        other => {
            shared.node.inbound.received(1);
            other?
        }
    };
    if let Subject::Audience(audience) = subject {
        let (mut event, mut envelope) = wire::parse_event(audience, &payload, now)?;
        event.history = position.map_or(History::None, History::Kept);
        let mark = envelope.as_mut().and_then(|envelope| envelope.presence.as_mut());
        if let (Some(mark), Some(version)) = (mark, version) {
            mark.version = version;
        }
        if is_sharded && envelope.is_none() {
            shared.arrivals.foreign.one(event, since);
            return Ok(());
        }
        shared.gaps.arrived(ArrivedEvent {
            by_all_channels,
            event,
            envelope,
            since,
        });
    } else {
        let events = wire::parse_publication(&payload, now).map_err(|_| Rejected::BadPublication)?;
        if is_sharded {
            shared.arrivals.foreign.many(events, since);
        } else {
            shared.recorder.receive_body(events, since);
        }
    }
    Ok(())
}

fn handle(shared: &Shared, source: &ChannelSource, message: NodeMessage, body: Bytes) {
    match message {
        NodeMessage::Reach(reached) => shared.receipts.reached(&reached),
        NodeMessage::Declined(numbers) => shared.receipts.declined(&numbers),
        NodeMessage::Flush { node, token } => shared.node.deliveries.push(Item::Flush { node, token }),
        NodeMessage::Flushed {
            node,
            token,
            connections,
        } => {
            let is_complete = !shared.peers.is_on_others(&node, connections);
            shared.requests.flushed(token, &node, is_complete);
        }
        NodeMessage::Report(Report { node, .. }) | NodeMessage::Ended { node } if node == shared.node.id => {}
        NodeMessage::Report(report) => reports::reported(shared, &report),
        NodeMessage::Ended { node } => {
            shared.peers.ended(&node);
            shared.requests.gone(&node, true);
        }
        NodeMessage::Probe(number) => {
            shared.requests.returned(number);
            source.marked(number);
        }
        NodeMessage::Tick(tick, lease) => {
            shared
                .recorder
                .receive_tick(tick, lease, shared.gaps.is_holding());
            if lease == BEGINS_ANEW && shared.recorder.has_replayed_lately() {
                shared.gaps.suspect_loss();
            }
        }
        NodeMessage::Ask { node, .. } if node == shared.node.id => {}
        NodeMessage::Ask { node, token } => shared.answers.push(node, token, body),
        NodeMessage::Answer { node, token } => shared.requests.answered(token, &node, Some(body)),
        NodeMessage::Unanswered { node, token } => shared.requests.answered(token, &node, None),
        NodeMessage::Notice { node, run, number } => shared.notices.receive(&node, (run, number), body),
        NodeMessage::NextNotice { run, number } => shared.notices.skip(run, number),
        NodeMessage::Missed(missed) => shared.notices.retransmit(missed),
    }
}
