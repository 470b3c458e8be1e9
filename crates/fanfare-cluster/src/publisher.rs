//! The task that publishes: gathers what callers hand in and sends it in batches, one after the other.

use std::sync::Arc;

use fanfare_core::{Event, Receipt};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Shared,
    messages::NodeMessage,
    transport::{Accepted, Message, PublishError, Subject},
    wire::{Envelope, encode},
};

/// Messages in one batch.
const BATCH: usize = 512;

/// What one caller wants published.
pub(crate) struct Job {
    pub(crate) events: Vec<Event>,
    pub(crate) done: oneshot::Sender<Vec<Receipt>>,
}

/// A message between nodes; lost when the transport is away.
pub(crate) struct Note {
    pub(crate) to: Subject,
    pub(crate) message: NodeMessage,
}

/// One message, and where its result is needed.
struct Outgoing {
    message: Message,
    result_to: ResultTo,
}

#[derive(Clone, Copy)]
enum ResultTo {
    Dropped,
    Event(u64),
    Flush(u64),
}

/// Publishes what comes in until the broker is dropped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    mut notes: mpsc::UnboundedReceiver<Note>,
) {
    loop {
        let (mut some_jobs, mut some_notes) = (Vec::new(), Vec::new());
        tokio::select! {
            biased;
            _ = notes.recv_many(&mut some_notes, BATCH) => {}
            count = jobs.recv_many(&mut some_jobs, BATCH) => if count == 0 {
                return;
            },
        }
        // Both kinds share a batch, so that neither waits for the other's.
        while some_jobs.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            some_jobs.push(job);
        }
        let mut outgoing: Vec<Outgoing> = some_notes.into_iter().map(Outgoing::from).collect();
        let any_events = !some_jobs.is_empty();
        for job in some_jobs {
            enter(&shared, job, &mut outgoing);
        }
        if any_events && let Some(token) = shared.receipts.flush_at_once() {
            outgoing.push(shared.flush(token).into());
        }
        for batch in outgoing.chunks(BATCH) {
            send(&shared, batch).await;
        }
    }
}

/// Enters a job's events among those that wait for receipts and writes their messages.
fn enter(shared: &Shared, job: Job, outgoing: &mut Vec<Outgoing>) {
    let first = shared.receipts.numbers(job.events.len());
    for (number, event) in (first..).zip(&job.events) {
        let envelope = Envelope {
            node: shared.node_id.clone(),
            reply: Some(number),
        };
        outgoing.push(Outgoing {
            message: Message {
                subject: Subject::Audience(event.audience.clone()),
                payload: encode(event, &envelope),
                id: event.named.then_some(event.id),
            },
            result_to: ResultTo::Event(number),
        });
    }
    shared.receipts.enter(first, job);
}

/// Sends `batch` and takes down the results.
async fn send(shared: &Shared, batch: &[Outgoing]) {
    let messages: Vec<Message> = batch.iter().map(|outgoing| outgoing.message.clone()).collect();
    let results = shared.link.publish(&messages).await;
    let mut events = Vec::with_capacity(batch.len());
    let mut flushes = Vec::new();
    let mut unshared = Vec::new();
    for (outgoing, result) in batch.iter().zip(results) {
        let (listeners, id_refused) = match result {
            Ok(Accepted {
                listeners,
                id_refused,
            }) => (Some(listeners), id_refused),
            Err(PublishError::Lost) => (None, None),
            Err(PublishError::Refused(error)) => {
                shared.status.refused(&error);
                (None, None)
            }
        };
        match outgoing.result_to {
            ResultTo::Event(number) => {
                if let Some(error) = id_refused {
                    shared.status.ids_refused(&error);
                    unshared.push(number);
                }
                events.push((number, listeners));
            }
            ResultTo::Flush(token) => flushes.push((token, listeners)),
            ResultTo::Dropped => {}
        }
    }
    shared.receipts.unshared(&unshared);
    shared.receipts.published(&events);
    for (token, listeners) in flushes {
        shared.receipts.flush_sent(token, listeners);
    }
}

impl From<Note> for Outgoing {
    fn from(note: Note) -> Self {
        let result_to = match note.message {
            NodeMessage::Flush { token, .. } => ResultTo::Flush(token),
            _ => ResultTo::Dropped,
        };
        Self {
            message: note.message.to(note.to, None),
            result_to,
        }
    }
}
