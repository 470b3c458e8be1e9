//! The loop of a shard's thread: runs the commands of other threads.

use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration, vec};

use fanfare_core::Ending;
use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::{Shard, ShardCommands, batch::Part, command::ShardCommand, drain::Drain, perform, sweep};

/// The most commands that are received at once.
const COMMANDS: usize = 256;

#[derive(Default)]
struct ReceivedCommands {
    commands: Vec<ShardCommand>,
    /// The number of leading commands that are known to be fan-outs.
    fan_outs: usize,
}

impl ReceivedCommands {
    fn all(&mut self) -> vec::Drain<'_, ShardCommand> {
        self.fan_outs = 0;
        self.commands.drain(..)
    }
}

impl Shard {
    /// Runs the shard, forever, on its own thread.
    pub async fn run(self: Rc<Self>, ShardCommands(mut commands): ShardCommands) {
        let beside = [
            tokio::task::spawn_local(sweep::run(self.clone())),
            tokio::task::spawn_local(self.publisher.clone().run()),
            tokio::task::spawn_local(self.pace.clone().run()),
            tokio::task::spawn_local(self.busy.clone().run()),
        ];
        let mut waiting = ReceivedCommands::default();
        loop {
            let is_free = self.fan_outs.borrow().is_empty();
            if !is_free {
                // Without waiting, because a fan-out is in progress.
                _ = commands.recv_many(&mut waiting.commands, COMMANDS).now_or_never();
            } else if waiting.commands.is_empty()
                && commands.recv_many(&mut waiting.commands, COMMANDS).await == 0
            {
                break;
            }
            let due = if is_free {
                waiting.all()
            } else {
                self.due(&mut waiting)
            };
            self.run_all(due).await;
            self.continue_fan_outs().await;
        }
        beside.iter().for_each(JoinHandle::abort);
    }

    /// Returns the commands to run between two chunks of a fan-out: all up to the last that is not another fan-out. Later commands
    /// wait, so that events for one audience can be delivered together.
    fn due<'a>(&self, waiting: &'a mut ReceivedCommands) -> vec::Drain<'a, ShardCommand> {
        let is_another =
            |command: &ShardCommand| matches!(command, ShardCommand::Deliver(part) if self.is_for_many(part));
        if self.fan_outs.borrow().is_full() {
            return waiting.commands.drain(..0);
        }
        let last = waiting.commands[waiting.fan_outs..]
            .iter()
            .rposition(|command| !is_another(command));
        let due = last.map_or(0, |last| waiting.fan_outs + last + 1);
        waiting.fan_outs = waiting.commands.len() - due;
        waiting.commands.drain(..due)
    }

    async fn run_all(self: &Rc<Self>, commands: impl Iterator<Item = ShardCommand>) {
        let mut parts = Vec::new();
        for command in commands {
            if let ShardCommand::Deliver(part) = command {
                parts.push(part);
                continue;
            }
            self.deliver_safely(std::mem::take(&mut parts)).await;
            match command {
                ShardCommand::Broadcast(broadcast) => {
                    self.complete_fan_outs().await;
                    self.broadcast(&broadcast).await;
                }
                ShardCommand::Missed(_) | ShardCommand::Drain(_) => {
                    self.complete_fan_outs().await;
                    self.run_command(command);
                }
                other => self.run_command(other),
            }
        }
        self.deliver_safely(parts).await;
    }

    /// Delivers `parts`. A panic loses only them.
    async fn deliver_safely(self: &Rc<Self>, parts: Vec<Part>) {
        let delivering = AssertUnwindSafe(self.deliver(parts));
        if delivering.catch_unwind().await.is_err() {
            tracing::error!(
                shard = self.number,
                "a panic in a delivery; a part of the batch is lost"
            );
        }
    }

    fn run_command(self: &Rc<Self>, command: ShardCommand) {
        // A caller may have stopped waiting for its reply.
        match command {
            // `run_all` runs both, because they pause.
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
                _ = reply.send(self.end_matching(Ending::Dismissed, |own| own.id == id));
            }
            ShardCommand::EndRevoked => {
                for driver in self.connections.borrow_mut().iter_mut() {
                    driver.connection.subscriber.recheck_credentials();
                }
                self.end_matching(Ending::SessionTerminated, |own| {
                    let identity = own.subscriber.identity.as_ref();
                    identity.is_some_and(|identity| self.node.authenticator.is_revoked(identity))
                });
            }
            ShardCommand::List(dialect, reply) => _ = reply.send(self.list(dialect)),
            ShardCommand::Probe(reply) => _ = reply.send(()),
            ShardCommand::Drain(window) => self.begin_drain(window),
        }
    }

    fn begin_drain(&self, window: Duration) {
        let moment = self.node.now();
        self.drain.set(Some(Drain::new(window, self.len(), moment.ms)));
        sweep::continue_drain(self, moment);
        sweep::leave_due(self, u64::MAX);
    }
}
