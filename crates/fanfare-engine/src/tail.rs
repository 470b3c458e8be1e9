//! Tails: live copies of published events from all nodes, read at one node.

use std::sync::Arc;

use fanfare_core::Interest;

use super::{
    Node,
    in_force::wait,
    interest_guard::WatchGuard,
    observe::{ObserveFigures, Subject, TailQueue, TailedEvent},
};

/// A live copy of the events of some subjects, as they arrive at this node. It ends when it is dropped.
pub struct Tail {
    node: Arc<Node>,
    queue: Arc<TailQueue>,
    /// Released when it is dropped.
    watched: Vec<WatchGuard>,
}

/// The node has the most tails that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has the most tails that it may have")]
pub struct TailsFull;

impl Node {
    /// Opens a tail. Resolves when this node receives the watched events, or the broker cannot be reached.
    ///
    /// # Errors
    /// If the node has the most tails that it may have.
    pub async fn tail(self: &Arc<Self>, subjects: Vec<Subject>) -> Result<Tail, TailsFull> {
        let interests: Vec<Interest> = subjects.iter().filter_map(Subject::interest).collect();
        let queue = self.observers.open_tail(subjects).ok_or(TailsFull)?;
        let mut tail = Tail {
            node: self.clone(),
            queue,
            watched: Vec::with_capacity(interests.len()),
        };
        for interest in interests {
            let (guard, in_force) = WatchGuard::new(self, interest);
            tail.watched.push(guard);
            wait(in_force).await;
        }
        Ok(tail)
    }

    /// Returns the figures about this node's traces and tails.
    pub fn observe_figures(&self) -> ObserveFigures {
        self.observers.figures()
    }
}

impl Tail {
    /// Returns the next event. No event is lost if the future is dropped.
    pub async fn next(&self) -> TailedEvent {
        self.queue.next().await
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.node.observers.close_tail(&self.queue);
    }
}
