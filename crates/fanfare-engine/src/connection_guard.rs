//! Admits connections to a shard, and removes them at their end.

use std::{future::poll_fn, rc::Rc, sync::atomic::Ordering::Relaxed, task::Poll};

use fanfare_core::Refusal;

use super::{
    NewConnection, Shard,
    commands::deregister,
    connection::Connection,
    connections::Key,
    directory::Directory,
    driver::Driver,
    in_force::{self, InForce},
    interest_guard::InterestGuard,
    perform, slots, turn,
};

/// A connection on its shard, from before the reply to its upgrade. Dropping the guard removes the connection, in any state.
pub struct ConnectionGuard {
    pub(super) shard: Rc<Shard>,
    pub(super) key: Key,
}

impl Shard {
    /// Admits a connection before the reply to its upgrade, so that it misses no event after the reply: events are queued until then.
    /// Resolves when this node receives the user's events and the connection has its user's slot.
    ///
    /// # Errors
    /// [`Refusal::UserAtCapacity`].
    pub async fn reserve(self: &Rc<Self>, new: NewConnection) -> Result<ConnectionGuard, Refusal> {
        let user = new.identity.as_ref().map(|identity| identity.user.clone());
        let mounted = new.admission.dialect().clone();
        let (guard, in_force) = self.insert(new)?;
        let slot = slots::of_user(&self.node, &mounted, user.as_ref());
        let ((), slot) = tokio::join!(in_force::wait(in_force), slot);
        let slot = slot.map_err(|_| Refusal::UserAtCapacity)?;
        turn::run(self, guard.key, |turn| {
            turn.connection().admission.keep_user_slot(slot);
        });
        Ok(guard)
    }

    fn insert(self: &Rc<Self>, new: NewConnection) -> Result<(ConnectionGuard, InForce), Refusal> {
        let node = &self.node;
        let identity = new.identity.clone();
        // A later revocation checks all connections.
        let is_revoked = |identity| node.authenticator.is_revoked(identity);
        if identity.as_deref().is_some_and(is_revoked) {
            return Err(Refusal::BadCredential);
        }
        // First, because the dialect may panic while nothing is acquired.
        let mut connection = Connection::new(new, node.next_connection(), node.now());
        let guard = identity
            .map(|identity| InterestGuard::user(node, self.number, connection.mounted(), &identity.user));
        let placed = guard.transpose().map_err(|_| Refusal::UserAtCapacity)?;
        let (guard, in_force) = placed.map_or((None, None), |(guard, in_force)| (Some(guard), in_force));
        Directory::keep_user(&mut connection, guard);
        let mut connections = self.connections.borrow_mut();
        let key = connections.insert(Driver::new(connection));
        if let Some(driver) = connections.at(key) {
            self.directory.refresh(key, &mut driver.connection);
        }
        let guard = ConnectionGuard {
            shard: self.clone(),
            key,
        };
        Ok((guard, in_force))
    }

    fn remove(self: &Rc<Self>, key: Key) {
        let Some(driver) = self.connections.borrow_mut().remove(key) else {
            return;
        };
        let (moment, mut connection) = (self.node.now(), driver.connection);
        self.removed_at.set(Some(moment.ms));
        let mounted = connection.mounted().clone();
        let unsent = connection.unsent_messages();
        mounted.counters.abandoned.fetch_add(unsent, Relaxed);
        deregister(self, key, &mut connection, moment);
        tracing::debug!(
            connection = connection.number,
            dialect = mounted.name,
            code = connection.close_code,
            open_ms = moment.ms - connection.liveness.opened_at,
            "connection closed"
        );
    }
}

impl ConnectionGuard {
    /// Begins the conversation before the reply to the client. Resolves when all its commands are answered.
    ///
    /// # Errors
    /// The status and message of the reply, if the conversation refuses the client.
    pub async fn begin(&mut self) -> Result<(), (u16, Box<str>)> {
        turn::run(&self.shard, self.key, perform::open);
        poll_fn(|cx| {
            let mut begun = Poll::Ready(Ok(()));
            turn::run(&self.shard, self.key, |turn| {
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

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shard.remove(self.key);
    }
}
