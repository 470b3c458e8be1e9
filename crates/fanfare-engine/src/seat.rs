//! A connection's place on its shard, from before the reply to its upgrade until after its end.

use std::{future::poll_fn, rc::Rc, sync::atomic::Ordering::Relaxed, task::Poll};

use fanfare_core::Refusal;

use super::{
    NewConnection, Shard,
    commands::depart,
    connection::Connection,
    connections::Key,
    directory::Directory,
    driver::Driver,
    in_force::{self, InForce},
    interest_guard::InterestGuard,
    perform, slots, turn,
};

/// A connection's place on its shard. Dropping it removes the connection, in any state.
pub struct Seat {
    pub(super) shard: Rc<Shard>,
    pub(super) key: Key,
}

impl Shard {
    /// Admits a connection before the reply to its upgrade, so that it misses no event from the reply on; earlier events are
    /// queued. Resolves when this node receives the user's events, and the user has a place among those of all nodes.
    ///
    /// # Errors
    /// [`Refusal::UserAtCapacity`].
    pub async fn reserve(self: &Rc<Self>, new: NewConnection) -> Result<Seat, Refusal> {
        let user = new.identity.as_ref().map(|identity| identity.user.clone());
        let mounted = new.admission.dialect().clone();
        let (seat, in_force) = self.insert(new)?;
        let slot = slots::of_user(&self.node, &mounted, user.as_ref());
        let ((), slot) = tokio::join!(in_force::wait(in_force), slot);
        let slot = slot.map_err(|_| Refusal::UserAtCapacity)?;
        turn::take(self, seat.key, |turn| turn.connection().admission.keep(slot));
        Ok(seat)
    }

    fn insert(self: &Rc<Self>, new: NewConnection) -> Result<(Seat, InForce), Refusal> {
        let node = &self.node;
        let identity = new.identity.clone();
        // A later revocation is followed by a look at all connections.
        let is_revoked = |identity| node.authenticator.is_revoked(identity);
        if identity.as_deref().is_some_and(is_revoked) {
            return Err(Refusal::BadCredential);
        }
        // First, because the dialect may panic, and nothing is acquired yet.
        let mut connection = Connection::new(new, node.next_connection(), node.now());
        let hold = identity
            .map(|identity| InterestGuard::user(node, self.number, connection.mounted(), &identity.user));
        let placed = hold.transpose().map_err(|_| Refusal::UserAtCapacity)?;
        let (hold, in_force) = placed.map_or((None, None), |(hold, in_force)| (Some(hold), in_force));
        Directory::keep_user(&mut connection, hold);
        let mut connections = self.connections.borrow_mut();
        let key = connections.insert(Driver::new(connection));
        if let Some(driver) = connections.at(key) {
            self.directory.refresh(key, &mut driver.connection);
        }
        let seat = Seat {
            shard: self.clone(),
            key,
        };
        Ok((seat, in_force))
    }

    fn forget(self: &Rc<Self>, key: Key) {
        let Some(driver) = self.connections.borrow_mut().remove(key) else {
            return;
        };
        let (moment, mut connection) = (self.node.now(), driver.connection);
        self.forgot_at.set(Some(moment.ms));
        let mounted = connection.mounted().clone();
        let untaken = connection.unsent_messages();
        mounted.counters.abandoned.fetch_add(untaken, Relaxed);
        depart(self, key, &mut connection, moment);
        tracing::debug!(
            connection = connection.number,
            dialect = mounted.name,
            code = connection.close_code,
            open_ms = moment.ms - connection.liveness.opened_at,
            "connection closed"
        );
    }
}

impl Seat {
    /// Begins the conversation before the reply to the client. Resolves when all its commands are answered.
    ///
    /// # Errors
    /// The status and message of the reply, if the conversation refuses the client.
    pub async fn begin(&mut self) -> Result<(), (u16, Box<str>)> {
        turn::take(&self.shard, self.key, perform::open);
        poll_fn(|cx| {
            let mut begun = Poll::Ready(Ok(()));
            turn::take(&self.shard, self.key, |turn| {
                turn.driver.register(cx.waker());
                let connection = turn.connection();
                if connection.is_open() && connection.is_asked() {
                    begun = Poll::Pending;
                } else if let Some(refusal) = connection.take_refusal() {
                    begun = Poll::Ready(Err(refusal));
                }
            });
            begun
        })
        .await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.forget(self.key);
    }
}
