//! Sends operations on a connection, and waits until the server has processed them: it answers each `PING` in order.

use std::{collections::VecDeque, sync::Mutex};

use fanfare_cluster::ANSWER_TIMEOUT;
use fanfare_core::locked;
use tokio::sync::{mpsc, oneshot};

use super::{
    connection::refused,
    protocol::{self, ServerMessage, ServerOp},
};

/// The server's errors for some operations. Each error names the subject.
pub(super) struct Refusals(Vec<String>);

/// The sending side of a connection, and the callers that wait for the server.
pub(super) struct Exchange {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Mutex<OpenPings>,
}

#[derive(Default)]
struct OpenPings {
    /// The callers whose `PING` has no `PONG` yet, in order.
    pings: VecDeque<oneshot::Sender<Refusals>>,
    /// The errors since the last `PONG`.
    refused: Vec<String>,
    is_lost: bool,
}

impl Exchange {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (outgoing, bytes) = mpsc::unbounded_channel();
        let this = Self {
            outgoing,
            waiting: Mutex::default(),
        };
        (this, bytes)
    }

    /// Sends `operations` and waits until the server has processed them. Its errors arrive before the `PONG`.
    ///
    /// # Errors
    /// If the connection is lost, or the server does not answer in time.
    pub(super) async fn flush(&self, mut operations: Vec<u8>) -> Result<Refusals, &'static str> {
        operations.extend_from_slice(protocol::PING);
        let (done, processed) = oneshot::channel();
        {
            let mut waiting = locked(&self.waiting);
            if waiting.is_lost {
                return Err("connection lost");
            }
            waiting.pings.push_back(done);
            // Sent under the lock, so that pings are sent in the order in which they wait.
            let _ = self.outgoing.send(operations);
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, processed).await;
        answer.map_err(|_| "timed out")?.map_err(|_| "connection lost")
    }

    /// Handles an operation of the server. Returns it if it is a message.
    pub(super) fn handle(&self, op: ServerOp) -> Option<ServerMessage> {
        match op {
            ServerOp::Message(message) => return Some(message),
            ServerOp::Ping => {
                let _ = self.outgoing.send(protocol::PONG.to_vec());
            }
            ServerOp::Pong => {
                let mut waiting = locked(&self.waiting);
                let refused = std::mem::take(&mut waiting.refused);
                if let Some(done) = waiting.pings.pop_front() {
                    let _ = done.send(Refusals(refused));
                }
            }
            ServerOp::Error(error) => locked(&self.waiting).refused.push(error),
            ServerOp::Info(_) | ServerOp::Ok => {}
        }
        None
    }

    /// Notes that the connection is lost.
    pub(super) fn lost(&self) {
        let mut waiting = locked(&self.waiting);
        waiting.is_lost = true;
        waiting.pings.clear();
    }
}

impl Refusals {
    /// Returns the reason why the operation on `subject` was refused, if it was.
    pub(super) fn of(&self, subject: &str) -> Option<String> {
        let quoted = format!("\"{subject}\"");
        self.0
            .iter()
            .find(|error| error.contains(&quoted))
            .map(|error| refused(error))
    }

    /// Returns the reason why an operation was refused, if one was.
    pub(super) fn any(&self) -> Option<String> {
        self.0.first().map(|error| refused(error))
    }
}
