//! The commands that other threads send to a shard.

use std::{sync::Arc, time::Duration};

use fanfare_core::{ConnectionFacts, Entered, EntryTicket, Gap};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    batch::{Broadcast, Part},
    row::{Filter, RowPage},
};

pub(super) enum ShardCommand {
    /// Deliver these events to this shard's connections.
    Deliver(Part),
    /// Send this to all connections of a dialect.
    Broadcast(Arc<Broadcast>),
    /// Notify the clients with cursors that events were lost.
    Missed(Gap),
    /// Complete the entry of a connection in its room.
    Entered(EntryTicket, Entered),
    /// Answer with the connections of the dialect of this number.
    List(usize, oneshot::Sender<Vec<ConnectionFacts>>),
    /// Answer with the connections that the filter asks for.
    Rows(Filter, oneshot::Sender<RowPage>),
    /// End the connection with this id, and answer how many there were.
    End(Uuid, oneshot::Sender<u64>),
    /// End the connections whose credential was revoked.
    EndRefused,
    /// Answer when all earlier commands were taken up.
    Probe(oneshot::Sender<()>),
    /// Close all connections within this time.
    Drain(Duration),
}

/// The commands for a shard, for [`Shard::run`](super::Shard::run).
pub struct ShardCommands(pub(super) mpsc::UnboundedReceiver<ShardCommand>);

/// Sends commands to a shard.
#[derive(Clone)]
pub struct ShardHandle(mpsc::UnboundedSender<ShardCommand>);

impl ShardHandle {
    /// Returns a handle and its commands.
    pub fn channel() -> (Self, ShardCommands) {
        // Unbounded: each publisher waits for the answer to its batch before it sends the next.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), ShardCommands(receiver))
    }

    /// Sends a command. A shard that has stopped drops it, which also answers the publisher of a batch.
    pub(super) fn send(&self, command: ShardCommand) {
        let _ = self.0.send(command);
    }
}
