//! The connection that publishes, and sends requests to JetStream.

use std::{slice, sync::Arc};

use fanfare_cluster::transport::{
    Accepted, Batch, Failed, IdStore, JournalStore, Message, PresenceStore, PublishError, Published, Sender,
    Subject,
};
use fanfare_core::BoxFuture;
use tokio::task::JoinSet;

use super::{
    address::Address,
    connection::{self, Reader},
    empty_records::EmptyRecords,
    exchange::Exchange,
    ids::{self, Ids},
    journal::Journal,
    names::Names,
    presence::Presence,
    protocol::{self, Publish},
    requests::Requests,
};

/// The number of the subscription to replies.
const REPLIES: u64 = 1;

/// A connection that publishes.
pub(super) struct Connection {
    names: Names,
    requests: Arc<Requests>,
    pub(super) ids: Arc<Ids>,
    presence: Presence,
    journal: Journal,
    /// Aborted when the connection is dropped.
    _tasks: JoinSet<()>,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// If no server accepts it, or the node has no right to receive replies.
    pub(super) async fn open(
        address: &Address,
        names: Names,
        empty: Arc<EmptyRecords>,
        max_history_bytes: usize,
    ) -> Result<Self, Failed> {
        let open = connection::open(address).await?;
        let (exchange, outgoing) = Exchange::new();
        let requests = Arc::new(Requests::new(Arc::new(exchange), open.max_payload));
        let mut tasks = JoinSet::new();
        tasks.spawn(open.writer.run(outgoing));
        tasks.spawn(read(open.reader, Arc::clone(&requests)));
        let mut subscribe = Vec::new();
        protocol::subscribe(&requests.inbox(), REPLIES, &mut subscribe);
        let refusals = requests.exchange.flush(subscribe).await?;
        if let Some(refused) = refusals.any() {
            return Err(refused);
        }
        let ids = Arc::new(Ids::new(&names, Arc::clone(&requests)));
        Ok(Self {
            journal: Journal::new(&names, Arc::clone(&requests), Arc::clone(&ids), max_history_bytes),
            presence: Presence::new(&names, Arc::clone(&requests), Arc::clone(&ids), empty),
            ids,
            names,
            requests,
            _tasks: tasks,
        })
    }

    /// Publishes `messages` through the journal. Messages that the journal refuses are published without it.
    async fn publish_kept(&self, messages: &[Message]) -> Vec<Published> {
        let mut published = Vec::with_capacity(messages.len());
        for (message, kept) in messages.iter().zip(self.journal.publish(messages).await) {
            match kept {
                Ok(result) => published.push(result),
                Err(reason) => {
                    let mut plain = self.publish_plain(slice::from_ref(message)).await;
                    let unkept = |accepted| Accepted {
                        unkept: Some(reason),
                        ..accepted
                    };
                    published.extend(plain.pop().map(|result| result.map(unkept)));
                }
            }
        }
        published
    }

    /// Publishes `messages` without the journal.
    async fn publish_plain(&self, messages: &[Message]) -> Vec<Published> {
        let (mut out, mut id_requests) = (Vec::new(), Vec::new());
        let mut subjects = Vec::with_capacity(messages.len());
        for message in messages {
            let subject = self.names.subject(&message.subject);
            if self.requests.too_large(message.payload.len()).is_none() {
                let publish = Publish {
                    subject: subject.clone(),
                    headers: Vec::new(),
                    payload: message.payload.clone(),
                };
                publish.write(None, &mut out);
                let mark = message.id.map(|id| self.ids.published(&id));
                id_requests.extend(mark.map(|mark| self.requests.write(&mark, &mut out)));
            }
            subjects.push(subject);
        }
        let Ok(refusals) = self.requests.exchange.flush(out).await else {
            return vec![Err(PublishError::Lost); messages.len()];
        };
        let id_replies = self.requests.replies(id_requests, Some(&refusals)).await;
        let mut id_replies = id_replies.into_iter();
        let published = messages.iter().zip(&subjects).map(|(message, subject)| {
            if let Some(reason) = self.requests.too_large(message.payload.len()) {
                return Err(PublishError::Refused(reason));
            }
            let id_reply = message.id.and_then(|_| id_replies.next());
            match refusals.of(subject) {
                Some(refused) => Err(PublishError::Refused(refused)),
                None => Ok(ids::accepted(id_reply, None)),
            }
        });
        published.collect()
    }
}

impl Sender for Connection {
    fn publish<'a>(&'a self, messages: &'a [Message], _: &'a [Subject]) -> BoxFuture<'a, Batch> {
        Box::pin(async move {
            let mut published = Vec::with_capacity(messages.len());
            // A later message must not overtake a kept one, which the stream republishes.
            for run in messages.chunk_by(|one, next| one.keep.is_some() == next.keep.is_some()) {
                if run[0].keep.is_some() {
                    published.extend(self.publish_kept(run).await);
                } else {
                    published.extend(self.publish_plain(run).await);
                }
            }
            (published, Ok(Vec::new()))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async move { Ok(self.requests.exchange.flush(Vec::new()).await.map(drop)?) })
    }

    fn ids(&self) -> &dyn IdStore {
        &*self.ids
    }

    fn presence(&self) -> Option<&dyn PresenceStore> {
        Some(&self.presence)
    }

    fn journal(&self) -> Option<&dyn JournalStore> {
        Some(&self.journal)
    }
}

/// Reads replies until the connection ends.
async fn read(mut reader: Reader, requests: Arc<Requests>) {
    while let Ok(Some(op)) = reader.next().await {
        if let Some(reply) = requests.exchange.handle(op) {
            requests.arrived(reply);
        }
    }
    requests.lost();
}
