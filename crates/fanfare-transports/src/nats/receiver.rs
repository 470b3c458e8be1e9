//! The connection that receives: one stream of messages for all its subscriptions, in the order in which the server sent them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fanfare_cluster::transport::{Failed, Received, Receiver, Subject, Subscriber};
use fanfare_core::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;

use super::{
    address::Address,
    connection::{self, Reader},
    exchange::Exchange,
    names::Names,
    presence,
    protocol::{self, ServerMessage},
};

/// The subscription to all channels; others have higher numbers.
const ALL_CHANNELS: u64 = 1;

/// The subscriptions of a connection that receives.
struct Subscriptions {
    names: Names,
    exchange: Arc<Exchange>,
    sids: Mutex<Sids>,
    /// Abort with the connection.
    _tasks: JoinSet<()>,
}

/// The numbers of subscriptions. NATS would send a message twice to two subscriptions to one subject.
#[derive(Default)]
struct Sids {
    by_subject: HashMap<Box<str>, u64>,
    last: u64,
}

/// Opens a connection that receives.
///
/// # Errors
/// When there is none.
pub(super) async fn open(address: &Address, names: &Names) -> Result<Receiver, Failed> {
    let open = connection::open(address).await?;
    let (exchange, outgoing) = Exchange::new();
    let exchange = Arc::new(exchange);
    let mut tasks = JoinSet::new();
    tasks.spawn(open.writer.run(outgoing));
    let subscriptions = Subscriptions {
        names: names.clone(),
        exchange: Arc::clone(&exchange),
        sids: Mutex::new(Sids {
            last: ALL_CHANNELS,
            ..Sids::default()
        }),
        _tasks: tasks,
    };
    let names = names.clone();
    let messages = stream::unfold((open.reader, exchange), |(mut reader, exchange)| async move {
        let message = next(&mut reader, &exchange).await?;
        Some((message, (reader, exchange)))
    });
    Ok(Receiver {
        subscriber: Box::new(subscriptions),
        messages: messages
            .flat_map(move |message| stream::iter(received(&names, &message)))
            .boxed(),
    })
}

/// The next message; `None` at the end of the connection. What is not read stays with the server, which ends the connection of
/// a client that does not keep up: it drops no message of a connection that goes on.
async fn next(reader: &mut Reader, exchange: &Exchange) -> Option<ServerMessage> {
    while let Ok(Some(op)) = reader.next().await {
        if let Some(message) = exchange.take(op) {
            return Some(message);
        }
    }
    exchange.lost();
    None
}

/// What a message brings: itself, or the announcements that it carries.
fn received(names: &Names, message: &ServerMessage) -> Vec<Received> {
    let by_all_channels = message.sid == ALL_CHANNELS;
    let received = |payload, version| Received {
        subject: names.read(&message.subject),
        by_all_channels,
        payload,
        version,
    };
    match presence::announcements(message) {
        None => vec![received(message.payload.clone(), None)],
        Some(announcements) => announcements
            .into_iter()
            .map(|(text, version)| received(text, Some(version)))
            .collect(),
    }
}

impl Subscriptions {
    async fn carry_out(&self, operations: Vec<u8>) -> Result<(), Failed> {
        let refusals = self.exchange.carry_out(operations).await?;
        refusals.any().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Sids> {
        self.sids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Subscriptions {
    fn subscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let mut operations = Vec::new();
            for subject in subjects {
                let name = self.names.subject(subject);
                if let Some(sid) = self.lock().add(&name, *subject == Subject::AllChannels) {
                    protocol::subscribe(&name, sid, &mut operations);
                }
            }
            self.carry_out(operations).await
        })
    }

    fn unsubscribe<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let mut operations = Vec::new();
            for subject in subjects {
                if let Some(sid) = self.lock().by_subject.remove(&*self.names.subject(subject)) {
                    protocol::unsubscribe(sid, &mut operations);
                }
            }
            self.carry_out(operations).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        // The reply stands behind all that the server has sent before.
        Box::pin(self.carry_out(Vec::new()))
    }
}

impl Sids {
    /// The number of a new subscription to `name`; `None` if there is one.
    fn add(&mut self, name: &str, to_all_channels: bool) -> Option<u64> {
        match self.by_subject.entry(name.into()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                let sid = if to_all_channels {
                    ALL_CHANNELS
                } else {
                    self.last += 1;
                    self.last
                };
                Some(*place.insert(sid))
            }
        }
    }
}
