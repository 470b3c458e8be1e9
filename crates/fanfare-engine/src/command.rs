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
    /// List the connections of the dialect with this number.
    List(usize, oneshot::Sender<Vec<ConnectionFacts>>),
    /// List the connections that match the filter.
    Rows(Filter, oneshot::Sender<RowPage>),
    /// End the connection with this id, and reply with the number of ended connections.
    End(Uuid, oneshot::Sender<u64>),
    /// End the connections whose credential was revoked.
    EndRevoked,
    /// Reply, which proves that the shard has begun all earlier commands.
    Probe(oneshot::Sender<()>),
    /// Close all connections, spread over this time.
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
        // Unbounded, because each publisher waits for the reply to its batch before it sends the next.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), ShardCommands(receiver))
    }

    /// Sends a command. A shard that has stopped drops it, so a batch reports its reach in any case.
    pub(super) fn send(&self, command: ShardCommand) {
        let _ = self.0.send(command);
    }
}
