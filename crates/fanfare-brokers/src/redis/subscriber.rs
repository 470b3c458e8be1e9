//! The connection that listens: made, told what to listen to, read, watched, and made again for ever.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{Interest, UserId};
use futures_util::StreamExt;
use redis::{
    Msg,
    aio::{PubSubSink, PubSubStream},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    ANSWER_TIMEOUT, Shared,
    backoff::Backoff,
    control::{self, Control},
    delivery::{Answer, Item},
    held::Ticket,
    link::{PING_INTERVAL, describe},
    status::Side,
};
use crate::wire::{self, Parsed, Rejected};

/// Messages taken from the connection at once.
const BATCH: usize = 256;
/// Names in one `SUBSCRIBE` or `UNSUBSCRIBE`.
const NAMES: usize = 1000;
/// How long Redis may take to answer here; its answer stands behind all that it has sent before.
const PING_TIMEOUT: Duration = Duration::from_millis(1500);

/// What the ledger wants of this task.
pub(super) enum Command {
    /// Listen for this user, and say so when Redis has confirmed.
    Subscribe(UserId, Ticket, oneshot::Sender<()>),
    /// Do not any more.
    Unsubscribe(UserId),
}

/// Keeps the listening connection up.
pub(super) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut backoff = Backoff::default();
    loop {
        shared.deliveries.has_room().await;
        let attempt = shared.client.get_async_pubsub();
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, attempt).await {
            Ok(Ok(connection)) => {
                let (sink, stream) = connection.split();
                let error = tokio::select! {
                    // Reading comes first, so that what has come in is not lost with the connection.
                    biased;
                    error = read(&shared, stream) => error,
                    error = obey(&shared, sink.clone(), &mut commands, &mut backoff) => error,
                    error = watch(sink) => error,
                };
                shared.ledger.lost();
                // Nobody adds to them now, and all who wait are let go: the ledger knows what is wanted.
                while commands.try_recv().is_ok() {}
                error
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => "timed out".to_owned(),
        };
        shared.status.down(Side::Listening, error);
        backoff.wait().await;
    }
}

/// Asks again and again; ends, with the reason, when there is no answer.
async fn watch(mut sink: PubSubSink) -> String {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        match tokio::time::timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
            // An error that Redis itself answered with is an answer.
            Ok(Err(error)) if error.code().is_none() => return describe(&error),
            Ok(_) => {}
            Err(_) => return "timed out".to_owned(),
        }
    }
}

/// Subscribes to all that is wanted, then carries out what the ledger wants changed.
async fn obey(
    shared: &Shared,
    mut sink: PubSubSink,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    backoff: &mut Backoff,
) -> String {
    let own = control::channel_of(&shared.node_id);
    let always = [wire::EVERYONE, wire::EVENTS, control::NODES, &own];
    if let Err(error) = sink.subscribe(&always[..]).await {
        return describe(&error);
    }
    let wanted = shared.ledger.connected();
    if let Err(error) = subscribe(shared, &mut sink, &wanted).await {
        return describe(&error);
    }
    shared.status.up(Side::Listening);
    backoff.reset();

    let mut batch = Vec::new();
    while commands.recv_many(&mut batch, 10 * NAMES).await > 0 {
        if let Err(error) = change(shared, &mut sink, &mut batch).await {
            return describe(&error);
        }
    }
    "the broker was dropped".to_owned()
}

/// Carries out a batch of commands. Of several for one user the last one counts: asking for what one has is harmless.
async fn change(shared: &Shared, sink: &mut PubSubSink, batch: &mut Vec<Command>) -> redis::RedisResult<()> {
    let mut last: AHashMap<UserId, Option<Ticket>> = AHashMap::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for command in batch.drain(..) {
        match command {
            Command::Subscribe(user, ticket, done) => {
                last.insert(user, Some(ticket));
                waiting.push(done);
            }
            Command::Unsubscribe(user) => {
                last.insert(user, None);
            }
        }
    }
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for (user, ticket) in last {
        match ticket {
            Some(ticket) => wanted.push((user, ticket)),
            None => unwanted.push(name(&user)),
        }
    }
    subscribe(shared, sink, &wanted).await?;
    for done in waiting {
        let _ = done.send(());
    }
    for names in unwanted.chunks(NAMES) {
        sink.unsubscribe(names).await?;
    }
    Ok(())
}

async fn subscribe(
    shared: &Shared,
    sink: &mut PubSubSink,
    wanted: &[(UserId, Ticket)],
) -> redis::RedisResult<()> {
    for users in wanted.chunks(NAMES) {
        let names: Vec<String> = users.iter().map(|(user, _)| name(user)).collect();
        sink.subscribe(names).await?;
        shared.ledger.confirmed(users);
    }
    Ok(())
}

/// Takes what was published to the delivery queue; ends, with the reason, when the connection does.
async fn read(shared: &Shared, stream: PubSubStream) -> String {
    let mut batches = stream.ready_chunks(BATCH);
    while let Some(messages) = batches.next().await {
        let now = SystemTime::now();
        for message in messages {
            if let Err(reason) = take(shared, &message, now) {
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

fn take(shared: &Shared, message: &Msg, now: SystemTime) -> Result<(), Rejected> {
    let channel = message.get_channel_name();
    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
    if channel == control::NODES || control::is_node(channel) {
        let control = serde_json::from_slice(&payload).map_err(|_| Rejected::NotJson)?;
        heed(shared, control);
        return Ok(());
    }
    shared.inbound.received(1);
    match wire::parse(channel.as_bytes(), &payload, now)? {
        Parsed::Many(events) => {
            for event in events {
                shared.deliveries.push(Item::Event(event, Answer::Nobody));
            }
        }
        Parsed::One(event, envelope) => {
            let reply = envelope.and_then(|envelope| Some((envelope.reply?, envelope.node)));
            match reply {
                None => shared.deliveries.push(Item::Event(event, Answer::Nobody)),
                Some((number, node)) if *node == *shared.node_id => shared.ledger.echo(number, event),
                Some((number, node)) => {
                    shared
                        .deliveries
                        .push(Item::Event(event, Answer::Node(node, number)));
                }
            }
        }
    }
    Ok(())
}

fn heed(shared: &Shared, control: Control) {
    match control {
        Control::Reach(reached) => shared.ledger.reached(&reached),
        Control::Flush { node, token } => shared.deliveries.push(Item::Flush { node, token }),
        Control::Flushed(token) => shared.ledger.flushed(token),
        Control::Probe(nonce) => shared.deliveries.push(Item::Probe(nonce)),
    }
}

fn name(user: &UserId) -> String {
    wire::redis_channel(&Interest::User(user.clone()))
}
