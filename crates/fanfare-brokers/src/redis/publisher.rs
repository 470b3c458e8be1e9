//! The task that publishes: gathers what callers hand in and sends it in pipelines, one after the other.

use std::sync::Arc;

use fanfare_core::{Event, Receipt};
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    control::{self, Control},
    ids,
};
use crate::wire::{Envelope, encode, redis_channel};

/// Commands in one pipeline.
const PIPELINE: usize = 512;

/// What one caller wants published.
pub(super) struct Job {
    pub(super) events: Vec<Event>,
    pub(super) done: oneshot::Sender<Vec<Receipt>>,
}

/// Something that nodes say to each other; lost when Redis is away.
pub(super) struct Notice {
    channel: String,
    message: Vec<u8>,
    /// For a flush: its token, since the number of nodes that heard it matters.
    token: Option<u64>,
}

impl Notice {
    pub(super) fn to_node(node: &str, control: &Control) -> Self {
        Self::new(control::channel_of(node), control, None)
    }

    pub(super) fn flush(node: &str, token: u64) -> Self {
        let node = node.into();
        Self::new(
            control::NODES.to_owned(),
            &Control::Flush { node, token },
            Some(token),
        )
    }

    fn new(channel: String, control: &Control, token: Option<u64>) -> Self {
        Self {
            channel,
            // Numbers and strings written to memory: there is nothing that could fail.
            message: serde_json::to_vec(control).unwrap_or_default(),
            token,
        }
    }
}

/// One command to Redis, and who wants to know its answer.
struct Command {
    command: Cmd,
    answer_to: AnswerTo,
}

impl Command {
    fn publish(channel: &str, message: &[u8], answer_to: AnswerTo) -> Self {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        Self { command, answer_to }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum AnswerTo {
    Nobody,
    Event(u64),
    /// Whether the id of that event is stored.
    Id(u64),
    Flush(u64),
}

/// Publishes what comes in until the broker is dropped.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
) {
    loop {
        let (mut some_jobs, mut some_notices) = (Vec::new(), Vec::new());
        tokio::select! {
            biased;
            _ = notices.recv_many(&mut some_notices, PIPELINE) => {}
            count = jobs.recv_many(&mut some_jobs, PIPELINE) => if count == 0 {
                return;
            },
        }
        // Both kinds share a pipeline, so that neither waits for the other's.
        while some_jobs.len() < PIPELINE
            && let Ok(job) = jobs.try_recv()
        {
            some_jobs.push(job);
        }
        let mut commands: Vec<Command> = some_notices.into_iter().map(Command::from).collect();
        let mut any_events = false;
        for job in some_jobs {
            any_events = true;
            enter(&shared, job, &mut commands);
        }
        if any_events && let Some(token) = shared.ledger.flush_at_once() {
            commands.push(Notice::flush(&shared.node_id, token).into());
        }
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let mut pipeline: Vec<Command> = commands.by_ref().take(PIPELINE).collect();
            // An event's receipt must not be complete before it is known whether its id is shared.
            pipeline.extend(commands.next_if(|next| matches!(next.answer_to, AnswerTo::Id(_))));
            send(&shared, pipeline).await;
        }
    }
}

/// Puts a job's events in the ledger and writes their commands.
fn enter(shared: &Shared, job: Job, commands: &mut Vec<Command>) {
    let first = shared.ledger.numbers(job.events.len());
    for (number, event) in (first..).zip(&job.events) {
        let envelope = Envelope {
            node: shared.node_id.as_str().into(),
            reply: Some(number),
        };
        let (channel, message) = (redis_channel(&event.audience), encode(event, &envelope));
        commands.push(Command::publish(&channel, &message, AnswerTo::Event(number)));
        if event.named {
            commands.push(Command {
                command: ids::published(&event.id),
                answer_to: AnswerTo::Id(number),
            });
        }
    }
    shared.ledger.enter(first, job);
}

/// Sends `commands` as one pipeline and takes down the answers.
async fn send(shared: &Shared, commands: Vec<Command>) {
    let mut pipe = Pipeline::new();
    let mut receivers = Vec::new();
    for Command { command, answer_to } in commands {
        pipe.add_command(command);
        receivers.push(answer_to);
    }
    let answers = shared.link.send(&pipe, receivers.len()).await.unwrap_or_default();
    let mut events = Vec::with_capacity(receivers.len());
    let mut flushes = Vec::new();
    let mut unshared = Vec::new();
    let (mut refused, mut ids_refused) = (None, None);
    let answers = answers.into_iter().map(Some).chain(std::iter::repeat(None));
    for (answer_to, answer) in receivers.into_iter().zip(answers) {
        let listeners = match answer {
            Some(Value::Int(count)) => u32::try_from(count).ok(),
            Some(Value::ServerError(error)) => {
                let error = shared.address.answered(error.code(), error.details());
                if let AnswerTo::Id(number) = answer_to {
                    unshared.push(number);
                    ids_refused = Some(error);
                } else {
                    refused = Some(error);
                }
                None
            }
            _ => None,
        };
        match answer_to {
            AnswerTo::Event(number) => events.push((number, listeners)),
            AnswerTo::Flush(token) => flushes.push((token, listeners)),
            AnswerTo::Nobody | AnswerTo::Id(_) => {}
        }
    }
    shared.ledger.unshared(&unshared);
    shared.ledger.published(&events);
    for (token, listeners) in flushes {
        shared.ledger.flush_sent(token, listeners);
    }
    if let Some(error) = refused {
        shared.status.refused(&error);
    }
    if let Some(error) = ids_refused {
        shared.status.ids_refused(&error);
    }
}

impl From<Notice> for Command {
    fn from(notice: Notice) -> Self {
        let answer_to = notice.token.map_or(AnswerTo::Nobody, AnswerTo::Flush);
        Self::publish(&notice.channel, &notice.message, answer_to)
    }
}
