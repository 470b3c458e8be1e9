//! The connection that listens: made, told what to listen to, read, watched, and made again for ever.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use fanfare_core::Event;
use futures_util::StreamExt;
use redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use tokio::sync::mpsc;

use super::{
    ANSWER_TIMEOUT, Shared,
    asking::Word,
    backoff::Backoff,
    control::{self, Control},
    delivery::{Answer, Item},
    link::{PING_INTERVAL, is_answer},
    publisher::Notice,
    source::Source,
    status::Side,
    subscriptions::{Command, Subscriptions},
};
use crate::wire::{self, Envelope, Parsed, Rejected};

/// Messages taken from the connection at once.
const BATCH: usize = 256;
/// How long Redis may take to answer here; its answer stands behind all that it has sent before.
const PING_TIMEOUT: Duration = Duration::from_millis(1500);

/// Keeps the listening connection up.
pub(super) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut backoff = Backoff::default();
    loop {
        shared.deliveries.has_room().await;
        let since = Instant::now();
        let attempt = shared.address.client.get_async_pubsub();
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                let (sink, stream) = connection.split();
                let source = Source::default();
                let error = tokio::select! {
                    // Reading comes first, so that what has come in is not lost with the connection.
                    biased;
                    error = read(&shared, &source, stream, since) => error,
                    error = obey(&shared, &source, sink.clone(), &mut commands, &mut backoff) => error,
                    error = watch(&shared, sink) => error,
                };
                shared.ledger.lost();
                shared.questions.lost();
                // Nobody adds to them now, and all who wait are let go: the ledger knows what is wanted.
                while commands.try_recv().is_ok() {}
                error
            }
            Ok(Err(error)) => shared.address.describe(&error),
            Err(_) => "timed out".to_owned(),
        };
        shared.status.down(Side::Listening, error);
        backoff.wait().await;
    }
}

/// Asks again and again; ends, with the reason, when there is no answer.
async fn watch(shared: &Shared, mut sink: PubSubSink) -> String {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        match tokio::time::timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
            Ok(Err(error)) if !is_answer(&error) => return shared.address.describe(&error),
            Ok(_) => {}
            Err(_) => return "timed out".to_owned(),
        }
    }
}

/// Subscribes to all that is wanted, then carries out what the ledger wants changed.
async fn obey(
    shared: &Shared,
    source: &Source,
    sink: PubSubSink,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    backoff: &mut Backoff,
) -> String {
    match Subscriptions::start(shared, source, sink).await {
        Ok(mut subscriptions) => {
            shared.status.up(Side::Listening);
            backoff.reset();
            subscriptions.obey(commands).await
        }
        Err(error) => error,
    }
}

/// Takes what was published to the delivery queue; ends, with the reason, when the connection does.
async fn read(shared: &Shared, source: &Source, stream: PubSubStream, since: Instant) -> String {
    let mut batches = stream.ready_chunks(BATCH);
    while let Some(messages) = batches.next().await {
        let now = SystemTime::now();
        for message in messages {
            if let Err(reason) = take(shared, source, &message, (since, now)) {
                shared.inbound.rejected();
                shared.status.rejected(reason);
            }
        }
        if shared.deliveries.is_full() {
            return "this node cannot keep up with what is published".to_owned();
        }
    }
    "connection lost".to_owned()
}

/// Takes one message, which came now on a connection that has been there `since`.
fn take(
    shared: &Shared,
    source: &Source,
    message: &Msg,
    (since, now): (Instant, SystemTime),
) -> Result<(), Rejected> {
    let channel = message.get_channel_name();
    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
    if channel == control::NODES || control::is_node(channel) {
        let (control, body) = Control::read(&payload).map_err(|_| Rejected::NotJson)?;
        heed(shared, source, control, body);
        return Ok(());
    }
    if !source.counts(channel, message.from_pattern()) {
        if let Ok(Parsed::One(_, Some(envelope))) = wire::parse(channel.as_bytes(), &payload, now) {
            decline(shared, &envelope);
        }
        return Ok(());
    }
    shared.inbound.received(1);
    match wire::parse(channel.as_bytes(), &payload, now)? {
        Parsed::Many(events) => shared.outside.many(events, since),
        Parsed::One(event, envelope) => one(shared, message.from_pattern(), event, envelope, since),
    }
    Ok(())
}

fn one(shared: &Shared, by_pattern: bool, event: Event, envelope: Option<Envelope>, since: Instant) {
    match envelope {
        Some(Envelope {
            node,
            reply: Some(number),
        }) if *node == *shared.node_id => shared.ledger.echo(number, event),
        // The pattern brings more than is wanted, once no pattern is held any more.
        envelope if by_pattern && !shared.ledger.wants(&event.audience) => {
            if let Some(envelope) = envelope {
                decline(shared, &envelope);
            }
        }
        Some(Envelope {
            node,
            reply: Some(number),
        }) => {
            let answer = Answer::Node(node, number);
            shared.deliveries.push(Item::Event(event, answer));
        }
        _ => shared.outside.one(event, since),
    }
}

/// Tells the publisher not to wait for this node, which Redis has counted among the listeners.
fn decline(shared: &Shared, envelope: &Envelope) {
    match envelope.reply {
        Some(number) if *envelope.node == *shared.node_id => shared.ledger.declined(&[number]),
        Some(number) => {
            let declined = Control::Declined(vec![number]);
            shared.notify(Notice::to_node(&envelope.node, &declined));
        }
        None => {}
    }
}

fn heed(shared: &Shared, source: &Source, control: Control, body: Bytes) {
    match control {
        Control::Reach(reached) => shared.ledger.reached(&reached),
        Control::Declined(numbers) => shared.ledger.declined(&numbers),
        Control::Flush { node, token } => shared.deliveries.push(Item::Flush { node, token }),
        Control::Flushed(token) => shared.ledger.flushed(token),
        Control::Probe(nonce) => shared.probe_came(nonce),
        Control::Mark(mark) => source.marked(mark),
        Control::Ask { node, token } if *node == *shared.node_id => shared.questions.heard(token, Word::Echo),
        Control::Ask { node, token } => shared.asks.push(node, token, body),
        Control::Answer(token) => shared.questions.heard(token, Word::Answer(body)),
        Control::Unanswered(token) => shared.questions.heard(token, Word::Nothing),
        Control::Tell(place) => {
            if shared.tellings.hear(&place) {
                shared.deliveries.push(Item::Told(body));
            }
        }
        Control::Skip(place) => {
            shared.tellings.hear(&place);
        }
        Control::Hello(hello) => shared.tellings.meet(&hello),
    }
}
