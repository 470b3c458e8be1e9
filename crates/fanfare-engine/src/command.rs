//! What other threads ask of a shard, and how the request reaches it.

use std::{sync::Arc, time::Duration};

use fanfare_core::{ConnectionFacts, Entered, EntryTicket, Gap};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    batch::{Broadcast, Part},
    row::{Filter, RowPage},
};

/// What other threads ask of a shard.
pub(super) enum ShardCommand {
    /// Deliver these events to this shard's connections.
    Deliver(Part),
    /// Send this to all connections of a dialect.
    Broadcast(Arc<Broadcast>),
    /// Events were lost, and clients that asked for cursors must be told.
    Missed(Gap),
    /// A connection has entered its room.
    Entered(EntryTicket, Entered),
    /// Answer with what is known of the connections of the dialect of this number.
    List(usize, oneshot::Sender<Vec<ConnectionFacts>>),
    /// Answer with the connections asked for.
    Rows(Filter, oneshot::Sender<RowPage>),
    /// End the connection of this id, and answer how many there were.
    End(Uuid, oneshot::Sender<u64>),
    /// End the connections whose credential has been revoked.
    EndRefused,
    /// Answer when everything asked before has been done, or is being done.
    Probe(oneshot::Sender<()>),
    /// Close all connections, spread over this time.
    Drain(Duration),
}

/// The commands for a shard, for [`Shard::run`](super::Shard::run).
pub struct ShardCommands(pub(super) mpsc::UnboundedReceiver<ShardCommand>);

/// Where commands for a shard are put.
#[derive(Clone)]
pub struct ShardHandle(mpsc::UnboundedSender<ShardCommand>);

impl ShardHandle {
    /// Returns a handle and its commands.
    pub fn channel() -> (Self, ShardCommands) {
        // Unbounded, because every publisher waits for its batch's answer before it sends the next.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), ShardCommands(receiver))
    }

    /// Puts a command; a shard that has stopped drops it, and a batch's publisher is answered by that.
    pub(super) fn send(&self, command: ShardCommand) {
        let _ = self.0.send(command);
    }
}
