//! The answers to other nodes' questions, made beside everything else: receiving goes on meanwhile, and however many
//! questions arrive or however long an answer takes, only a bounded number is in progress.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use fanfare_core::ANSWER_PATIENCE;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{local, messages::NodeMessage, node::Node, transport::Subject};

/// Questions that are answered at once.
const ANSWERING: usize = 64;
/// Questions that wait for their turn.
const WAITING: usize = 4096;
/// What those that wait may take together, in KiB.
const WAITING_KIB: usize = 64 << 10;

/// Where questions arrive.
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

    /// Enqueues a question of `node`, if there is room for it; else that node waits in vain, as it would for a slow one.
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
    // Dropped with this task, it ends those under way.
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
    if ask.since.elapsed() >= ANSWER_PATIENCE {
        // Its node does not wait any more.
        return;
    }
    let (id, token) = (node.id.clone(), ask.token);
    let answer = local::answer(&*node.inbound, ask.question).await;
    let message = match answer {
        Some(_) => NodeMessage::Answer { node: id, token },
        None => NodeMessage::Unanswered { node: id, token },
    };
    // If that fails, the other node waits in vain.
    let message = message.to(Subject::Node(ask.node), answer.as_deref());
    let _ = node.link.publish_large(message).await;
}
