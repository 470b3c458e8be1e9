//! The connection that receives: one stream of messages for all its subscriptions, in the order in which the server sent them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
};

use fanfare_cluster::transport::{Failed, Received, Receiver, Subject, Subscriber};
use fanfare_core::{BoxFuture, locked};
use futures_util::{StreamExt, stream};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    address::Address,
    connection::{self, Reader},
    exchange::Exchange,
    journal,
    names::Names,
    order::Sequencer,
    presence,
    protocol::{self, ServerMessage},
};

/// The subscriptions of a connection that receives.
struct Subscriptions {
    names: Names,
    exchange: Arc<Exchange>,
    sids: Mutex<Sids>,
    /// Aborted when the connection is dropped.
    _tasks: JoinSet<()>,
}

/// The numbers of subscriptions: odd for the one to all channels, even for others. NATS would send a message twice to two subscriptions to
/// one subject.
#[derive(Default)]
struct Sids {
    by_subject: HashMap<Box<str>, u64>,
    count: u64,
}

/// Opens a connection that receives.
///
/// # Errors
/// If no server accepts it.
pub(super) async fn open(address: &Address, names: &Names) -> Result<Receiver, Failed> {
    let open = connection::open(address).await?;
    let (exchange, outgoing) = Exchange::new();
    let exchange = Arc::new(exchange);
    let mut tasks = JoinSet::new();
    tasks.spawn(open.writer.run(outgoing));
    let subscriptions = Subscriptions {
        names: names.clone(),
        exchange: Arc::clone(&exchange),
        sids: Mutex::default(),
        _tasks: tasks,
    };
    let journal = journal::stream(names);
    let sequencer = Sequencer::new(journal.clone());
    let start = (open.reader, exchange, sequencer, names.clone(), journal);
    let messages = stream::unfold(
        start,
        async move |(mut reader, exchange, mut sequencer, names, journal)| {
            let message = next(&mut reader, &exchange, &mut sequencer, &names).await?;
            let received = received(&names, &journal, &message);
            Some((
                stream::iter(received),
                (reader, exchange, sequencer, names, journal),
            ))
        },
    );
    Ok(Receiver {
        subscriber: Box::new(subscriptions),
        messages: messages.flatten().boxed(),
        further: None,
    })
}

/// Returns the next message; `None` at the end of the connection. Unread messages stay at the server, which ends the connection of a slow
/// client. It never drops single messages.
async fn next(
    reader: &mut Reader,
    exchange: &Exchange,
    sequencer: &mut Sequencer,
    names: &Names,
) -> Option<ServerMessage> {
    loop {
        if let Some(message) = sequencer.next() {
            return Some(message);
        }
        let read = match sequencer.deadline() {
            None => reader.next().await,
            Some(deadline) => {
                let Ok(read) = timeout_at(deadline, reader.next()).await else {
                    sequencer.expire(Instant::now());
                    continue;
                };
                read
            }
        };
        if let Ok(Some(op)) = read {
            if let Some(message) = exchange.handle(op) {
                let is_of_nodes = names.is_of_nodes(&message.subject);
                sequencer.push(message, is_of_nodes, Instant::now());
            }
        } else if sequencer.deadline().is_some() {
            sequencer.release_all();
        } else {
            exchange.lost();
            return None;
        }
    }
}

/// Returns the message in the port's form. A change of a room becomes its announcements.
fn received(names: &Names, journal: &str, message: &ServerMessage) -> Vec<Received> {
    let by_all_channels = message.sid % 2 == 1;
    let received = |payload, version| Received {
        subject: names.read(&message.subject),
        by_all_channels,
        is_sharded: false,
        payload,
        version,
        position: journal::position(journal, message),
    };
    if journal::number(journal, message).is_some() {
        return vec![received(message.payload.clone(), None)];
    }
    match presence::announcements(message) {
        None => vec![received(message.payload.clone(), None)],
        Some(announcements) => announcements
            .into_iter()
            .map(|(text, version)| received(text, Some(version)))
            .collect(),
    }
}

impl Subscriptions {
    async fn flush(&self, operations: Vec<u8>) -> Result<(), Failed> {
        let refusals = self.exchange.flush(operations).await?;
        refusals.any().map_or(Ok(()), Err)
    }
}

impl Subscriber for Subscriptions {
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let mut operations = Vec::new();
            for subject in subjects {
                let name = self.names.subject(subject);
                if let Some(sid) = locked(&self.sids).add(&name, *subject == Subject::AllChannels) {
                    protocol::subscribe(&name, sid, &mut operations);
                }
            }
            self.flush(operations).await
        })
    }

    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let mut operations = Vec::new();
            for subject in subjects {
                let name = self.names.subject(subject);
                if let Some(sid) = locked(&self.sids).by_subject.remove(&*name) {
                    protocol::unsubscribe(sid, &mut operations);
                }
            }
            self.flush(operations).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        // The reply follows everything that the server has sent before.
        Box::pin(self.flush(Vec::new()))
    }
}

impl Sids {
    /// Returns the number of a new subscription to `name`; `None` if there is one already.
    fn add(&mut self, name: &str, to_all_channels: bool) -> Option<u64> {
        match self.by_subject.entry(name.into()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                self.count += 1;
                Some(*place.insert(2 * self.count + u64::from(to_all_channels)))
            }
        }
    }
}
