//! The connection that publishes, and sends questions to JetStream.

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
    empty::Empty,
    exchange::Exchange,
    ids::{self, Ids},
    journal::Journal,
    names::Names,
    presence::Presence,
    protocol::{self, Publish},
    questions::Questions,
};

/// The number of the subscription to answers.
const ANSWERS: u64 = 1;

/// A connection that publishes.
pub(super) struct Connection {
    names: Names,
    questions: Arc<Questions>,
    pub(super) ids: Arc<Ids>,
    presence: Presence,
    journal: Journal,
    /// Abort with the connection.
    _tasks: JoinSet<()>,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// If no server accepts it, or this node may not receive answers.
    pub(super) async fn open(
        address: &Address,
        names: Names,
        empty: Arc<Empty>,
        max_history_bytes: usize,
    ) -> Result<Self, Failed> {
        let open = connection::open(address).await?;
        let (exchange, outgoing) = Exchange::new();
        let questions = Arc::new(Questions::new(Arc::new(exchange), open.max_payload));
        let mut tasks = JoinSet::new();
        tasks.spawn(open.writer.run(outgoing));
        tasks.spawn(read(open.reader, Arc::clone(&questions)));
        let mut subscribe = Vec::new();
        protocol::subscribe(&format!("{}*", questions.inbox()), ANSWERS, &mut subscribe);
        let refusals = questions.exchange.carry_out(subscribe).await?;
        if let Some(refused) = refusals.any() {
            return Err(refused);
        }
        let ids = Arc::new(Ids::new(&names, Arc::clone(&questions)));
        Ok(Self {
            journal: Journal::new(
                &names,
                Arc::clone(&questions),
                Arc::clone(&ids),
                max_history_bytes,
            ),
            presence: Presence::new(&names, Arc::clone(&questions), Arc::clone(&ids), empty),
            ids,
            names,
            questions,
            _tasks: tasks,
        })
    }

    /// Publishes `messages` through the journal. Those that it does not keep are published without it.
    async fn keep(&self, messages: &[Message]) -> Vec<Published> {
        let mut published = Vec::with_capacity(messages.len());
        for (message, kept) in messages.iter().zip(self.journal.publish(messages).await) {
            match kept {
                Ok(result) => published.push(result),
                Err(reason) => {
                    let mut carried = self.carry(slice::from_ref(message)).await;
                    let unkept = |accepted| Accepted {
                        unkept: Some(reason),
                        ..accepted
                    };
                    published.extend(carried.pop().map(|result| result.map(unkept)));
                }
            }
        }
        published
    }

    /// Publishes `messages` in one go.
    async fn carry(&self, messages: &[Message]) -> Vec<Published> {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut subjects = Vec::with_capacity(messages.len());
        for message in messages {
            let subject = self.names.subject(&message.subject);
            if self.questions.too_large(message.payload.len()).is_none() {
                let publish = Publish {
                    subject: subject.clone(),
                    headers: Vec::new(),
                    payload: message.payload.clone(),
                };
                publish.write(None, &mut out);
                notes.extend(
                    message
                        .id
                        .map(|id| self.questions.write(&self.ids.published(&id), &mut out)),
                );
            }
            subjects.push(subject);
        }
        let Ok(refusals) = self.questions.exchange.carry_out(out).await else {
            return vec![Err(PublishError::Lost); messages.len()];
        };
        let mut notes = self
            .questions
            .answers_to(notes, Some(&refusals))
            .await
            .into_iter();
        let published = messages.iter().zip(&subjects).map(|(message, subject)| {
            if let Some(reason) = self.questions.too_large(message.payload.len()) {
                return Err(PublishError::Refused(reason));
            }
            let note = message.id.and_then(|_| notes.next());
            if let Some(refused) = refusals.of(subject) {
                return Err(PublishError::Refused(refused));
            }
            Ok(ids::accepted(note, None))
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
                    published.extend(self.keep(run).await);
                } else {
                    published.extend(self.carry(run).await);
                }
            }
            (published, Ok(Vec::new()))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failed>> {
        Box::pin(async move { Ok(self.questions.exchange.carry_out(Vec::new()).await.map(|_| ())?) })
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

/// Reads answers until the connection ends.
async fn read(mut reader: Reader, questions: Arc<Questions>) {
    while let Ok(Some(op)) = reader.next().await {
        if let Some(answer) = questions.exchange.take(op) {
            questions.arrived(answer);
        }
    }
    questions.lost();
}
