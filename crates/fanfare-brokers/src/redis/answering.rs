//! Answers the questions that other nodes put to all, beside everything else: listening goes on meanwhile, and however
//! many questions come or however long an answer takes, only a bounded number is under way.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use fanfare_core::ANSWER_PATIENCE;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    Shared,
    control::{Control, channel_of},
};
use crate::node;

/// Questions that are answered at once.
const ANSWERING: usize = 64;
/// Questions that wait for their turn.
const WAITING: usize = 4096;
/// What those that wait may take together, in KiB.
const WAITING_KIB: usize = 64 << 10;

/// Where questions come in.
pub(super) struct Asks {
    queue: mpsc::Sender<Ask>,
    room: Arc<Semaphore>,
}

/// A question of another node.
pub(super) struct Ask {
    node: Box<str>,
    token: u64,
    question: Bytes,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

impl Asks {
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let room = Arc::new(Semaphore::new(WAITING_KIB));
        (Self { queue, room }, waiting)
    }

    /// Takes in a question of `node`, if there is room for it; else that node waits in vain, as it would for a slow one.
    pub(super) fn push(&self, node: Box<str>, token: u64, question: Bytes) {
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

/// Answers what comes in until the broker is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut asks: mpsc::Receiver<Ask>) {
    // Dropped with this task, it ends those under way.
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            Some(ask) = asks.recv(), if answering.len() < ANSWERING => {
                answering.spawn(answer(Arc::clone(&shared), ask));
            }
            Some(_) = answering.join_next() => {}
            else => return,
        }
    }
}

async fn answer(shared: Arc<Shared>, ask: Ask) {
    if ask.since.elapsed() >= ANSWER_PATIENCE {
        // Nobody waits for it any more.
        return;
    }
    let message = match node::answer(&*shared.inbound, ask.question).await {
        Some(answer) => Control::Answer(ask.token).write(Some(&answer)),
        None => Control::Unanswered(ask.token).write(None),
    };
    // If that fails, the other node waits in vain.
    let _ = shared.link.publish(&channel_of(&ask.node), &message).await;
}
