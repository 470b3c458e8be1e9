//! Answers other nodes' questions in tasks of bounded number, so that neither many questions nor slow answers delay the receiving task.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use fanfare_core::QUESTION_TIMEOUT;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{local, messages::NodeMessage, node::Node, transport::Subject};

/// The most questions to answer concurrently.
const ANSWERING: usize = 64;
/// The most waiting questions.
const WAITING: usize = 4096;
/// The limit of all waiting questions together, in KiB.
const WAITING_KIB: usize = 64 << 10;

/// The queue of other nodes' questions.
pub(crate) struct Answers {
    node: Arc<Node>,
    queue: mpsc::Sender<Ask>,
    room: Arc<Semaphore>,
}

/// A question of another node.
pub(crate) struct Ask {
    node: Box<str>,
    token: u64,
    question: Bytes,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

impl Answers {
    pub(crate) fn new(node: Arc<Node>) -> (Self, mpsc::Receiver<Ask>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let room = Arc::new(Semaphore::new(WAITING_KIB));
        (Self { node, queue, room }, waiting)
    }

    /// Enqueues a question of `node`. Drops it if the queue is full: for that node, this is a node that answers too slowly.
    pub(crate) fn push(&self, node: Box<str>, token: u64, question: Bytes) {
        let kib = u32::try_from(question.len() / 1024).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(kib) {
            let _ = self.queue.try_send(Ask {
                node,
                token,
                question,
                since: Instant::now(),
                _room: room,
            });
        }
    }
}

/// Answers the questions that arrive, until the broker is dropped.
pub(crate) async fn run(answers: Arc<Answers>, mut asks: mpsc::Receiver<Ask>) {
    // Dropped with this task, which aborts the answers in progress.
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            Some(ask) = asks.recv(), if answering.len() < ANSWERING => {
                answering.spawn(answer(Arc::clone(&answers.node), ask));
            }
            Some(_) = answering.join_next() => {}
            else => return,
        }
    }
}

async fn answer(node: Arc<Node>, ask: Ask) {
    if ask.since.elapsed() >= QUESTION_TIMEOUT {
        return; // the requesting node has stopped waiting
    }
    let (id, token) = (node.id.clone(), ask.token);
    let answer = local::answer(&*node.inbound, ask.question).await;
    let message = match answer {
        Some(_) => NodeMessage::Answer { node: id, token },
        None => NodeMessage::Unanswered { node: id, token },
    };
    // If that fails, the requesting node times out.
    let message = message.to(Subject::Node(ask.node), answer.as_deref());
    let _ = node.link.publish_large(message).await;
}
