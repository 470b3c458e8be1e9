//! A shard's thread: it works off what other threads ask.

use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

use fanfare_core::Ending;
use futures_util::FutureExt;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Shard, ShardCommand, batch::Part, drain::Drain, perform, sweep};

impl Shard {
    /// Works off commands and keeps the connections' times, for ever. Runs on the shard's own thread.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<ShardCommand>) {
        let beside = [
            tokio::task::spawn_local(sweep::run(self.clone())),
            tokio::task::spawn_local(self.publisher.clone().run()),
            tokio::task::spawn_local(self.pace.clone().run()),
            tokio::task::spawn_local(self.busy.clone().run()),
        ];
        let mut pending = Vec::new();
        while commands.recv_many(&mut pending, 256).await > 0 {
            let mut parts = Vec::new();
            for command in pending.drain(..) {
                match command {
                    ShardCommand::Deliver(part) => parts.push(part),
                    ShardCommand::Broadcast(broadcast) => {
                        self.deliver_safely(std::mem::take(&mut parts)).await;
                        self.broadcast(&broadcast).await;
                    }
                    other => {
                        self.deliver_safely(std::mem::take(&mut parts)).await;
                        self.obey(other);
                    }
                }
            }
            self.deliver_safely(parts).await;
        }
        beside.iter().for_each(JoinHandle::abort);
    }

    /// A fault over one batch loses that batch; the shard goes on.
    async fn deliver_safely(self: &Rc<Self>, parts: Vec<Part>) {
        if AssertUnwindSafe(self.deliver(parts))
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!(
                shard = self.number,
                "a fault while delivering; the batch is lost in part"
            );
        }
    }

    fn obey(self: &Rc<Self>, command: ShardCommand) {
        // A caller that has given up needs no reply.
        match command {
            // Both are done where there can be pauses.
            ShardCommand::Deliver(_) | ShardCommand::Broadcast(_) => {}
            ShardCommand::Missed(gap) => self.report_gap(&gap),
            ShardCommand::Entered(ticket, entered) => perform::entered(self, ticket, entered),
            ShardCommand::Rows(filter, reply) => {
                let rows = self.clone().rows(filter);
                tokio::task::spawn_local(async move {
                    let _ = reply.send(rows.await);
                });
            }
            ShardCommand::End(id, reply) => {
                _ = reply.send(self.end_those(Ending::Dismissed, |own| own.id == id));
            }
            ShardCommand::EndRefused => {
                for driver in self.connections.borrow_mut().iter_mut() {
                    driver.connection.subscriber.lapse_soon();
                }
                self.end_those(Ending::SessionTerminated, |own| {
                    let identity = own.subscriber.identity.as_ref();
                    identity.is_some_and(|identity| self.node.authenticator.is_revoked(identity))
                });
            }
            ShardCommand::List(dialect, reply) => _ = reply.send(self.list(dialect)),
            ShardCommand::Probe(reply) => _ = reply.send(()),
            ShardCommand::Drain(window) => self.begin_drain(window),
        }
    }

    /// Starts to close all connections, spread over `window`.
    fn begin_drain(&self, window: Duration) {
        let moment = self.node.now();
        self.drain.set(Some(Drain::new(window, self.len(), moment.ms)));
        sweep::continue_drain(self, moment);
        sweep::leave_due(self, u64::MAX);
    }
}
