//! The messages of this node's broker to other nodes, which are published after all earlier events.

use tokio::sync::mpsc;

use crate::{messages::NodeMessage, requests::Request, transport::Subject};

/// A message between nodes. It is lost while the transport is away.
pub(crate) enum Note {
    Message(Subject, NodeMessage),
    Flush(Request),
    /// The reply to flush `token` of a node.
    Flushed {
        node: Box<str>,
        token: u64,
    },
}

/// The queue of notes for the publishing task.
pub(crate) struct Outbox(mpsc::UnboundedSender<Note>);

impl Outbox {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Note>) {
        let (notes, outgoing) = mpsc::unbounded_channel();
        (Self(notes), outgoing)
    }

    pub(crate) fn put(&self, note: Note) {
        // Fails only while the runtime shuts down.
        let _ = self.0.send(note);
    }

    /// Publishes `message` on `subject`.
    pub(crate) fn send(&self, subject: Subject, message: NodeMessage) {
        self.put(Note::Message(subject, message));
    }

    /// Publishes `message` to the node called `node`.
    pub(crate) fn send_to(&self, node: &str, message: NodeMessage) {
        self.send(Subject::Node(node.into()), message);
    }
}
