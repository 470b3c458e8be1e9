//! A connection's own task: it reads, lets the conversation answer, and writes what was queued.

use std::{
    future::poll_fn,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::SystemTime,
};

use fanfare_core::{Ending, Interest, Message, Refusal, Step, Steps, UserId};
use futures_util::FutureExt;

use super::{
    MountedDialect, Newcomer, Shard, Transport,
    connection::{Connection, Key, Phase},
    node::InForce,
    shard::{Codec, Tools},
};
use crate::ws::{Incoming, Input, Limits, Opcode, Violation, encode};

/// Looks at the socket in a row, and messages in one look, before the rest of the shard gets a turn. A client that
/// sends as fast as it can must not be felt by the others.
const LOOKS_PER_TURN: usize = 4;
const MESSAGES_PER_LOOK: usize = 128;

/// A connection's place on its shard. Dropping it forgets the connection, whatever state it is in.
pub struct Seat {
    shard: Rc<Shard>,
    key: Key,
}

/// How a turn of a connection's task ended.
#[derive(PartialEq, Eq)]
enum Turn {
    /// There may be more, after the others.
    Spent,
    /// The connection is over.
    Over,
}

/// What a look at the socket came to.
enum Progress {
    /// There may be more.
    Again,
    /// Nothing to do until the socket or somebody wakes the task.
    Wait,
    /// The connection is over.
    Over,
}

impl Shard {
    /// Lets a connection in before its upgrade is answered, so that nothing published from the answer on is missed:
    /// what reaches it earlier is queued. Resolves when the broker sends this node the user's events.
    ///
    /// # Errors
    /// [`Refusal::UserAtCapacity`].
    pub async fn reserve(self: &Rc<Self>, newcomer: Newcomer) -> Result<Seat, Refusal> {
        let (seat, in_force) = self.seat(newcomer)?;
        if let Some(in_force) = in_force {
            in_force.await;
        }
        Ok(seat)
    }

    fn seat(self: &Rc<Self>, newcomer: Newcomer) -> Result<(Seat, InForce), Refusal> {
        let mounted = newcomer.admission.dialect().clone();
        let node = &self.node;
        let identity = newcomer.identity;
        // Before anything is taken that would have to be given back, should the dialect fail.
        let conversation = mounted.dialect.converse(identity.as_ref());
        let in_force = match &identity {
            Some(identity) => self.hold(&identity.user, &mounted)?,
            None => None,
        };
        let now = node.clock_ms();
        let expires_in = identity
            .as_ref()
            .map(|identity| identity.expires_at.duration_since(SystemTime::now()));
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let connection = Box::new(Connection {
            generation,
            phase: Phase::Open,
            transport: Transport::Upgrading,
            outbox: None,
            unread: None,
            waker: None,
            decoder: crate::ws::Decoder::new(),
            conversation,
            admission: newcomer.admission,
            user: identity.map(|identity| identity.user),
            deflate: newcomer.deflate,
            opened_at: now,
            heard_at: now,
            ping_at: now + millis(mounted.settings.ping_interval),
            // A token may be expired by now: then the next sweep ends the connection.
            expires_at: expires_in.map_or(u64::MAX, |left| {
                now.saturating_add(millis(left.unwrap_or_default()))
            }),
            number: node.next_connection(),
            address: newcomer.address,
            close_code: 0,
        });
        let mut connections = self.connections.borrow_mut();
        let slot = connections.insert(connection);
        let key = connections[slot].key(slot);
        if let Some(user) = &connections[slot].user {
            self.index.borrow_mut().add_user(user, key);
        }
        Ok((
            Seat {
                shard: self.clone(),
                key,
            },
            in_force,
        ))
    }

    /// Counts one more connection of `user`, and asks the broker for the user's events with the first.
    fn hold(&self, user: &UserId, mounted: &MountedDialect) -> Result<InForce, Refusal> {
        let node = &self.node;
        let subscribe = || {
            let placed = node.broker()?.subscribe(Interest::User(user.clone())).shared();
            if placed.clone().now_or_never().is_some() {
                None
            } else {
                Some(placed)
            }
        };
        let most = mounted.settings.max_connections_per_user;
        let held = node
            .interests
            .acquire(user, (self.number, mounted.number), most, subscribe);
        held.map_err(|_| Refusal::UserAtCapacity)
    }

    fn forget(&self, key: Key) {
        let connection = {
            let mut connections = self.connections.borrow_mut();
            if Connection::at(&mut connections, key).is_none() {
                return;
            }
            connections.remove(key.slot as usize)
        };
        self.forgot_at.set(Some(self.node.clock_ms()));
        let mounted = connection.admission.dialect();
        let untaken = connection.outbox.as_ref().map_or(0, |outbox| outbox.messages());
        mounted.counters.abandoned.fetch_add(untaken, Relaxed);
        if let Some(user) = &connection.user {
            let mut index = self.index.borrow_mut();
            index.remove_user(user, key);
            index.shrink();
            self.node
                .interests
                .release(user, (self.number, mounted.number), || {
                    if let Some(broker) = self.node.broker() {
                        broker.unsubscribe(Interest::User(user.clone()));
                    }
                });
        }
        tracing::debug!(
            connection = connection.number,
            dialect = mounted.dialect.name(),
            code = connection.close_code,
            open_ms = self.node.clock_ms() - connection.opened_at,
            "connection closed"
        );
    }

    /// One turn of a connection's task.
    fn poll_connection(&self, key: Key, cx: &mut Context<'_>) -> Poll<Turn> {
        for _ in 0..LOOKS_PER_TURN {
            let mut connections = self.connections.borrow_mut();
            let Some(connection) = Connection::at(&mut connections, key) else {
                return Poll::Ready(Turn::Over);
            };
            if connection
                .waker
                .as_ref()
                .is_none_or(|waker| !waker.will_wake(cx.waker()))
            {
                connection.waker = Some(cx.waker().clone());
            }
            let mut tools = self.tools.borrow_mut();
            // A panic in a dialect or in our own code for this connection is this connection's alone.
            let turn = catch_unwind(AssertUnwindSafe(|| connection.turn(self, &mut tools, cx)));
            match turn {
                Ok(Progress::Again) => {}
                Ok(Progress::Wait) => return Poll::Pending,
                Ok(Progress::Over) => return Poll::Ready(Turn::Over),
                Err(_) => {
                    tracing::error!(
                        connection = connection.number,
                        "a fault while serving a connection; it is closed"
                    );
                    if connection.phase != Phase::Open {
                        return Poll::Ready(Turn::Over);
                    }
                    connection.unread = None;
                    connection.end(Ending::InternalError, self.node.clock_ms());
                }
            }
        }
        Poll::Ready(Turn::Spent)
    }
}

impl Seat {
    /// Gives the connection its socket, now that the upgrade is answered, and spawns the task that serves it to its
    /// end. `leftover` is what the client sent right behind its request.
    pub fn serve(self, transport: Transport, leftover: &[u8]) {
        self.open(transport, leftover);
        tokio::task::spawn_local(async move {
            let (shard, key) = (&self.shard, self.key);
            while poll_fn(|cx| shard.poll_connection(key, cx)).await == Turn::Spent {
                // Not a mere wake-up, which would come before the shard has looked at its other sockets.
                tokio::task::yield_now().await;
            }
        });
    }

    fn open(&self, transport: Transport, leftover: &[u8]) {
        let mut connections = self.shard.connections.borrow_mut();
        let Some(connection) = Connection::at(&mut connections, self.key) else {
            return;
        };
        let mounted = connection.admission.dialect();
        mounted.counters.opened.fetch_add(1, Relaxed);
        tracing::debug!(
            connection = connection.number,
            dialect = mounted.dialect.name(),
            user = connection.user.as_deref().map(tracing::field::debug),
            address = %connection.address,
            "connection opened"
        );
        connection.transport = transport;
        if !leftover.is_empty() {
            connection.unread = Some(leftover.into());
        }
        let mut steps = Steps::new();
        connection.conversation.opened(SystemTime::now(), &mut steps);
        let queued = connection.outbox.take();
        connection.perform(
            steps,
            &mut self.shard.tools.borrow_mut().codec,
            self.shard.node.clock_ms(),
        );
        if let Some(queued) = queued {
            connection.outbox.get_or_insert_default().append(*queued);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.forget(self.key);
    }
}

impl Connection {
    fn turn(&mut self, shard: &Shard, tools: &mut Tools, cx: &mut Context<'_>) -> Progress {
        let now = shard.node.clock_ms();
        if self.outbox.is_some() || self.transport.wants_flush() {
            match self.transport.poll_write_ready(cx) {
                Poll::Ready(_) => match self.flush() {
                    Ok(true) => {}
                    Ok(false) => return Progress::Again, // registers for write readiness next time round
                    Err(error) => self.broken(&error),
                },
                Poll::Pending if self.is_congested() && self.phase == Phase::Open => return Progress::Wait,
                Poll::Pending => {}
            }
        }
        match &mut self.phase {
            Phase::Gone => return Progress::Over,
            Phase::Finishing { finished, .. } if !*finished && self.outbox.is_none() => {
                *finished = true;
                self.transport.finish_writing();
            }
            _ => {}
        }
        if let Some(mut unread) = self.unread.take() {
            self.received(&mut unread, &mut tools.codec, now);
            return Progress::Again;
        }
        match self.transport.poll_read_ready(cx) {
            Poll::Pending if self.transport.has_read_ahead() => self.read(tools, now),
            Poll::Pending => Progress::Wait,
            Poll::Ready(_) => self.read(tools, now),
        }
    }

    fn read(&mut self, tools: &mut Tools, now: u64) -> Progress {
        match self.transport.try_read(&mut tools.read_buffer) {
            Ok(0) => {
                self.gone();
                Progress::Over
            }
            Ok(bytes) => {
                self.heard_at = now;
                self.received(&mut tools.read_buffer[..bytes], &mut tools.codec, now);
                Progress::Again
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Again,
            Err(error) => {
                self.broken(&error);
                Progress::Over
            }
        }
    }

    /// Takes in bytes from the client.
    fn received(&mut self, bytes: &mut [u8], codec: &mut Codec, now: u64) {
        if matches!(self.phase, Phase::Finishing { .. } | Phase::Gone) {
            return; // nothing that comes now has a meaning
        }
        let settings = &self.admission.dialect().clone().settings;
        let limits = Limits {
            max_message_size: settings.max_message_size,
            max_fragments: settings.max_fragments,
            deflate: self.deflate,
        };
        let mut input = Input::new(bytes);
        let mut steps = Steps::new();
        for _ in 0..MESSAGES_PER_LOOK {
            let message = match self.decoder.next(&mut input, &limits, &mut codec.inflater) {
                Ok(None) => return self.flush_or_wake(),
                Ok(Some(message)) => message,
                Err(violation) => return self.violated(violation, now),
            };
            let open = self.phase == Phase::Open;
            let converse = match message {
                Incoming::Text(text) => Some(Message::Text(text)),
                Incoming::Binary(bytes) => Some(Message::Binary(bytes)),
                Incoming::Ping(payload) if open => {
                    let pong = encode::pong_frame(payload);
                    self.queue(pong, now);
                    None
                }
                Incoming::Ping(_) | Incoming::Pong(_) => None,
                Incoming::Close(close) => {
                    let code = close.map(|(code, _)| code);
                    return self.closed_by_client(code, now);
                }
            };
            if let (Some(message), true) = (converse, open) {
                self.admission.dialect().counters.received.fetch_add(1, Relaxed);
                self.conversation.received(message, SystemTime::now(), &mut steps);
                self.perform(std::mem::take(&mut steps), codec, now);
            }
            if self.is_congested() {
                self.flush_or_wake();
                if self.is_congested() {
                    break;
                }
            }
        }
        // The rest waits until others had their turn, or until the client has read its answers.
        if !input.rest().is_empty() {
            self.unread = Some(input.rest().into());
        }
        self.flush_or_wake();
    }

    /// Does what the conversation wants done.
    fn perform(&mut self, steps: Steps, codec: &mut Codec, now: u64) {
        for step in steps {
            match step {
                Step::SendText(text) => self.answer(Opcode::Text, &text, codec, now),
                Step::SendBinary(bytes) => self.answer(Opcode::Binary, &bytes, codec, now),
                Step::Close(code, reason) => self.close(code, &reason, now),
            }
        }
    }

    fn answer(&mut self, opcode: Opcode, payload: &[u8], codec: &mut Codec, now: u64) {
        let mounted = self.admission.dialect().clone();
        let frame = match self.class().1 {
            Some(params) if payload.len() >= mounted.settings.compression_threshold => {
                codec.deflater.frame(opcode, payload, params)
            }
            _ => encode::frame(opcode, payload, false),
        };
        let sent = self.queue(frame, now);
        mounted.counters.sent.fetch_add(sent.queued, Relaxed);
        mounted.counters.dropped.fetch_add(sent.dropped, Relaxed);
    }

    fn violated(&mut self, violation: Violation, now: u64) {
        tracing::debug!(
            connection = self.number,
            reason = violation.reason(),
            "protocol violation"
        );
        self.refuse_stream(violation.close_code(), violation.reason(), now);
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
