//! The task that publishes: it sends the events of all callers in batches, one batch at a time.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    messages::NodeMessage,
    outbox::Note,
    receipts::{Job, SendReport},
    requests::Request,
    shared::Shared,
    status::{Refused, Status},
    transport::{Accepted, Message, PublishError, Subject},
    wire::{Envelope, encode},
};

/// The most messages in one batch.
const BATCH: usize = 512;

/// Messages, each with the receiver of its result.
#[derive(Default)]
struct Outgoing {
    messages: Vec<Message>,
    results_to: Vec<ResultTo>,
}

enum ResultTo {
    Dropped,
    Event(u64),
    Flush(Request),
}

/// Publishes jobs and notes until the broker is dropped.
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
        // Jobs and notes share a batch, so that neither kind waits for the other.
        while some_jobs.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            some_jobs.push(job);
        }
        let mut outgoing = Outgoing::default();
        for note in some_notes {
            outgoing.note(&shared, note);
        }
        let any_receipts = some_jobs.iter().any(|job| job.options.receipt);
        for job in some_jobs {
            outgoing.enter(&shared, job);
        }
        if any_receipts && shared.receipts.flushes_at_once() {
            outgoing.note(&shared, shared.receipts.flush(&shared.requests));
        }
        let Outgoing {
            messages,
            mut results_to,
        } = outgoing;
        for messages in messages.chunks(BATCH) {
            send(
                &shared,
                messages,
                results_to.drain(..messages.len()),
                any_receipts,
            )
            .await;
        }
    }
}

impl Outgoing {
    fn note(&mut self, shared: &Shared, note: Note) {
        let (message, result_to) = match note {
            Note::Message(to, message) => (message.to(to, None), ResultTo::Dropped),
            Note::Flush(request) => {
                let flush = shared.requests.flush(request.number);
                (flush.to(Subject::Nodes, None), ResultTo::Flush(request))
            }
            Note::Flushed { node, token } => {
                // Written only now, because earlier messages have been sent, or their connection counts as lost.
                let reply = NodeMessage::Flushed {
                    node: shared.node.id.clone(),
                    token,
                    connections: shared.connections(),
                };
                (reply.to(Subject::Node(node), None), ResultTo::Dropped)
            }
        };
        self.messages.push(message);
        self.results_to.push(result_to);
    }

    /// Appends a job's events, and opens their publications.
    fn enter(&mut self, shared: &Shared, job: Job) {
        let first = shared.requests.numbers.take(job.events.len());
        for (number, event) in (first..).zip(&job.events) {
            let envelope = Envelope {
                node: shared.node.id.clone(),
                number: Some(number),
                reply: job.options.receipt,
                presence: None,
                recorded: false,
            };
            self.messages.push(Message {
                subject: Subject::Audience(event.audience.clone()),
                payload: encode(event, &envelope),
                id: event.named.then_some(event.id),
                keep: event.history.wanted(),
            });
            self.results_to.push(ResultTo::Event(number));
        }
        shared.receipts.enter(first, job, shared.peers.any_missing());
    }
}

/// Sends `messages` and processes the results. With `counts_nodes`, the transport also counts the receiving connections of nodes.
async fn send(
    shared: &Arc<Shared>,
    messages: &[Message],
    results_to: impl Iterator<Item = ResultTo>,
    counts_nodes: bool,
) {
    let receivers = if counts_nodes {
        shared.peers.receivers()
    } else {
        Vec::new()
    };
    let subjects: Vec<Subject> = receivers.iter().map(|(_, subject)| subject.clone()).collect();
    let (published, counts) = shared.node.link.publish_and_count(messages, &subjects).await;
    let counts = counts.unwrap_or_else(|error| {
        shared.node.status.refused(Refused::Count, &error);
        Vec::new()
    });
    let gone = receivers.into_iter().zip(counts).filter(|(_, count)| *count == 0);
    let is_node_missing = shared.peers.gone(gone.map(|(receiver, _)| receiver));
    let (mut reports, mut flushes) = (Vec::with_capacity(messages.len()), Vec::new());
    for (result_to, result) in results_to.zip(published) {
        if let Err(PublishError::Refused(error)) = &result {
            shared.node.status.refused(Refused::Events, error);
        }
        match result_to {
            ResultTo::Event(number) => {
                let accepted = result.ok();
                if let Some(accepted) = &accepted {
                    note_refusals(&shared.node.status, accepted);
                }
                reports.push(SendReport::new(number, accepted.as_ref(), is_node_missing));
            }
            ResultTo::Flush(request) => flushes.push((request, result.is_ok())),
            ResultTo::Dropped => {}
        }
    }
    if shared.receipts.published(&reports) {
        shared.node.outbox.put(shared.receipts.flush(&shared.requests));
    }
    for (request, is_sent) in flushes {
        shared.receipts.flush_sent(request, is_sent);
    }
}

/// Logs the refusals for a message that the transport carries.
fn note_refusals(status: &Status, accepted: &Accepted) {
    for (what, error) in [
        (Refused::Journal, accepted.unkept.as_ref()),
        (Refused::Ids, accepted.id_refused.as_ref()),
    ] {
        if let Some(error) = error {
            status.refused(what, error);
        }
    }
}
