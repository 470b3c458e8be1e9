//! A connection's place on its shard, from before its upgrade is answered until after it is over.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
};

use fanfare_core::Refusal;

use super::{
    Newcomer, Shard, Transport,
    connection::{Connection, Key, Phase},
    hold::{Hold, InForce},
    meter::Meter,
    requests, serve, slots,
    talk::{Turn, millis, unix_millis},
    work::Debt,
};

/// A connection's place on its shard. Dropping it forgets the connection, whatever state it is in.
pub struct Seat {
    shard: Rc<Shard>,
    key: Key,
}

impl Shard {
    /// Lets a connection in before its upgrade is answered, so that nothing published from the answer on is missed:
    /// what reaches it earlier is queued. Resolves when the broker sends this node the user's events, and the user has a place
    /// among those of all nodes.
    ///
    /// # Errors
    /// [`Refusal::UserAtCapacity`].
    pub async fn reserve(self: &Rc<Self>, newcomer: Newcomer) -> Result<Seat, Refusal> {
        let user = newcomer.identity.as_ref().map(|identity| identity.user.clone());
        let mounted = newcomer.admission.dialect().clone();
        let (seat, in_force) = self.take_in(newcomer)?;
        let slot = async {
            match user {
                Some(user) => slots::of_user(&self.node, &mounted, &user).await,
                None => Ok(None),
            }
        };
        let ((), slot) = tokio::join!(requests::in_force(in_force), slot);
        let slot = slot.map_err(|_| Refusal::UserAtCapacity)?;
        self.with(seat.key, |connection, _| connection.admission.keep(slot));
        Ok(seat)
    }

    fn take_in(self: &Rc<Self>, newcomer: Newcomer) -> Result<(Seat, InForce), Refusal> {
        let mounted = newcomer.admission.dialect().clone();
        let node = &self.node;
        let identity = newcomer.identity;
        // What was revoked after this is found by the look at all connections that follows it.
        if identity
            .as_ref()
            .is_some_and(|identity| node.authenticator.is_revoked(identity))
        {
            return Err(Refusal::BadCredential);
        }
        // Before anything is taken that would have to be given back, should the dialect fail.
        let conversation = mounted.dialect.converse(newcomer.admission.name());
        let (hold, in_force) = match &identity {
            Some(identity) => {
                let placed = Hold::user(node, self.number, &mounted, &identity.user);
                let (hold, in_force) = placed.map_err(|_| Refusal::UserAtCapacity)?;
                (Some(hold), in_force)
            }
            None => (None, None),
        };
        let now = node.clock_ms();
        let expires_at = identity
            .as_ref()
            .map_or(u64::MAX, |identity| unix_millis(identity.expires_at));
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let connection = Box::new(Connection {
            generation,
            phase: Phase::Open,
            transport: Transport::Upgrading,
            outbox: None,
            unread: None,
            waker: None,
            decoder: fanfare_ws::Decoder::new(),
            conversation,
            admission: newcomer.admission,
            id: newcomer.id,
            identity,
            subscriptions: None,
            lapses: None,
            holds_user: false,
            hears_user: false,
            hears_everyone: false,
            paused: false,
            departed: false,
            is_lost: true,
            asked: 0,
            meter: Meter::new(&mounted.settings()),
            debt: Debt::default(),
            successor: newcomer.successor,
            user_agent: newcomer.user_agent.map(Box::new),
            deflate: newcomer.deflate,
            opened_at: now,
            heard_at: now,
            ping_at: now + millis(mounted.settings().ping_interval),
            expires_at,
            timer_at: u64::MAX,
            pinged_at: 0,
            number: node.next_connection(),
            close_code: 0,
        });
        let mut connections = self.connections.borrow_mut();
        let slot = connections.insert(connection);
        let key = connections[slot].key(slot);
        connections[slot].keep(hold);
        connections[slot].rehear(self, key);
        let seat = Seat {
            shard: self.clone(),
            key,
        };
        Ok((seat, in_force))
    }

    /// Lets `act` at a connection, if it is still there, outside of its own task.
    pub(super) fn with(self: &Rc<Self>, key: Key, act: impl FnOnce(&mut Connection, &mut Turn<'_>)) {
        let mut connections = self.connections.borrow_mut();
        let Some(connection) = Connection::at(&mut connections, key) else {
            return;
        };
        let mut tools = self.tools.borrow_mut();
        let now = self.node.clock_ms();
        let mut turn = Turn::new(self, key, &mut tools.codec, now);
        let acted = catch_unwind(AssertUnwindSafe(|| act(connection, &mut turn)));
        connection.debt.add(turn.done.work, now);
        if acted.is_err() {
            connection.failed(now);
        }
    }

    fn forget(&self, key: Key) {
        let mut connection = {
            let mut connections = self.connections.borrow_mut();
            if Connection::at(&mut connections, key).is_none() {
                return;
            }
            connections.remove(key.slot as usize)
        };
        self.forgot_at.set(Some(self.node.clock_ms()));
        let mounted = connection.admission.dialect().clone();
        let untaken = connection.outbox.as_ref().map_or(0, |outbox| outbox.messages());
        mounted.counters.abandoned.fetch_add(untaken, Relaxed);
        connection.depart(self, key);
        tracing::debug!(
            connection = connection.number,
            dialect = mounted.name,
            code = connection.close_code,
            open_ms = self.node.clock_ms() - connection.opened_at,
            "connection closed"
        );
    }
}

impl Connection {
    /// Has its user's events come to this node from now on.
    pub(super) fn keep(&mut self, hold: Option<Hold>) {
        self.holds_user = hold.is_some();
        if let Some(hold) = hold {
            hold.keep();
        }
    }

    /// Has them come no more.
    pub(super) fn release_user(&mut self, shard: &Shard) {
        if let (true, Some(identity)) = (self.holds_user, &self.identity) {
            let dialect = self.admission.dialect().number;
            drop(Hold::kept_user(
                &shard.node,
                shard.number,
                dialect,
                &identity.user,
            ));
        }
        self.holds_user = false;
    }

    /// Is no receiver of anything any more, and has its rooms told. That does not wait for the client to hang up: one
    /// that has vanished never does.
    pub(super) fn depart(&mut self, shard: &Shard, key: Key) {
        if std::mem::replace(&mut self.departed, true) {
            return;
        }
        let rooms = self.leave_index(shard, key);
        self.release_user(shard);
        self.admission.release();
        self.leave_rooms(rooms, shard);
    }
}

impl Seat {
    /// Gives the connection its socket, now that the upgrade is answered, and spawns the task that serves it to its
    /// end. `leftover` is what the client sent right behind its request.
    pub fn serve(self, transport: Transport, leftover: &[u8]) {
        self.open(transport, leftover);
        tokio::task::spawn_local(async move { serve::run(&self.shard, self.key).await });
    }

    fn open(&self, transport: Transport, leftover: &[u8]) {
        self.shard.with(self.key, |connection, turn| {
            let mounted = connection.admission.dialect();
            mounted.counters.opened.fetch_add(1, Relaxed);
            tracing::debug!(
                connection = connection.number,
                dialect = mounted.name,
                user = connection.identity.as_ref().map(|identity| tracing::field::debug(&identity.user)),
                address = %connection.admission.address(),
                "connection opened"
            );
            connection.transport = transport;
            if !leftover.is_empty() {
                connection.unread = Some(Box::new(leftover.into()));
            }
            if connection.phase != Phase::Open {
                return; // ended while it came in; the close frame waits in its queue
            }
            let queued = connection.outbox.take();
            connection.converse(turn, |talk, context, steps| talk.opened(context, steps));
            if let Some(queued) = queued
                && connection.phase == Phase::Open
            {
                connection.append(*queued);
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.forget(self.key);
    }
}
