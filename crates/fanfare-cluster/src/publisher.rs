//! The task that publishes: gathers the events of all callers and sends them in batches, one after the other.

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

/// Messages, and for each where its result is needed.
#[derive(Default)]
struct Outgoing {
    messages: Vec<Message>,
    results_to: Vec<ResultTo>,
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
        let mut outgoing = Outgoing::default();
        for note in some_notes {
            outgoing.note(note);
        }
        let any_events = !some_jobs.is_empty();
        for job in some_jobs {
            outgoing.enter(&shared, job);
        }
        if any_events && let Some(token) = shared.receipts.flush_at_once() {
            outgoing.note(shared.flush(token));
        }
        let Outgoing { messages, results_to } = outgoing;
        for (messages, results_to) in messages.chunks(BATCH).zip(results_to.chunks(BATCH)) {
            send(&shared, messages, results_to).await;
        }
    }
}

impl Outgoing {
    fn note(&mut self, note: Note) {
        self.results_to.push(match note.message {
            NodeMessage::Flush { token, .. } => ResultTo::Flush(token),
            _ => ResultTo::Dropped,
        });
        self.messages.push(note.message.to(note.to, None));
    }

    /// Writes a job's events, and enters them among those that wait for receipts.
    fn enter(&mut self, shared: &Shared, job: Job) {
        let first = shared.receipts.numbers(job.events.len());
        for (number, event) in (first..).zip(&job.events) {
            let envelope = Envelope {
                node: shared.node_id.clone(),
                reply: Some(number),
            };
            self.messages.push(Message {
                subject: Subject::Audience(event.audience.clone()),
                payload: encode(event, &envelope),
                id: event.named.then_some(event.id),
            });
            self.results_to.push(ResultTo::Event(number));
        }
        shared.receipts.enter(first, job, shared.peers.any_missing());
    }
}

/// Sends `messages` and takes down the results.
async fn send(shared: &Shared, messages: &[Message], results_to: &[ResultTo]) {
    let results = shared.link.publish(messages).await;
    let mut events = Vec::with_capacity(messages.len());
    let mut flushes = Vec::new();
    let mut unshared = Vec::new();
    for (result_to, result) in results_to.iter().zip(results) {
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
        match *result_to {
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
