//! The shares of connections and operators in the interests of their node.

use std::sync::Arc;

use fanfare_core::{Channel, Interest, Pattern, UserAtCapacity, UserId};
use futures_util::FutureExt;

use super::{MountedDialect, Node, in_force::InForce};

/// One connection's share in an interest of its node, released when it is dropped.
pub(super) struct InterestGuard {
    node: Arc<Node>,
    shard: usize,
    /// `None` after [`InterestGuard::keep`].
    on: Option<On>,
}

/// The object of an [`InterestGuard`].
pub(super) enum On {
    User { user: UserId, dialect: usize },
    Channel(Channel),
    Pattern(Pattern),
}

impl InterestGuard {
    /// Acquires a share for a connection of `user`. The node's first share requests the user's events from the broker.
    ///
    /// # Errors
    /// If the user has the most connections that the dialect permits.
    pub(super) fn user(
        node: &Arc<Node>,
        shard: usize,
        mounted: &MountedDialect,
        user: &UserId,
    ) -> Result<(Self, InForce), UserAtCapacity> {
        let (dialect, most) = (mounted.number, mounted.settings().max_connections_per_user);
        let first = || subscribe(node, Interest::User(user.clone()));
        let in_force = node.interests.acquire_user(user, (shard, dialect), most, first)?;
        let in_force = pending(node, in_force);
        let on = On::User {
            user: user.clone(),
            dialect,
        };
        Ok((Self::new(node, shard, on), in_force))
    }

    /// Acquires a share for a subscription to `channel`.
    pub(super) fn channel(node: &Arc<Node>, shard: usize, channel: &Channel) -> (Self, InForce) {
        let first = || subscribe(node, Interest::Channel(channel.clone()));
        let in_force = node.interests.acquire_channel(channel, shard, first);
        (
            Self::new(node, shard, On::Channel(channel.clone())),
            pending(node, in_force),
        )
    }

    /// Acquires a share for a subscription to `pattern`.
    pub(super) fn pattern(node: &Arc<Node>, shard: usize, pattern: &Pattern) -> (Self, InForce) {
        let first = || subscribe(node, Interest::AllChannels);
        let in_force = node.interests.acquire_pattern(pattern, shard, first);
        (
            Self::new(node, shard, On::Pattern(pattern.clone())),
            pending(node, in_force),
        )
    }

    fn new(node: &Arc<Node>, shard: usize, on: On) -> Self {
        Self {
            node: node.clone(),
            shard,
            on: Some(on),
        }
    }

    /// Drops the guard and keeps the share, which the caller later [releases](release). A connection with a guard for each of its
    /// subscriptions would be twice as large.
    pub(super) fn keep(mut self) {
        self.on = None;
    }
}

/// An operator's share in an interest of this node, released when it is dropped.
pub(super) struct WatchGuard {
    node: Arc<Node>,
    interest: Interest,
}

impl WatchGuard {
    /// Acquires a share in `interest`. The node's first share requests the events from the broker.
    pub(super) fn new(node: &Arc<Node>, interest: Interest) -> (Self, InForce) {
        let first = || subscribe(node, interest.clone());
        let in_force = node.interests.watch(&interest, first);
        let (in_force, node) = (pending(node, in_force), node.clone());
        (Self { node, interest }, in_force)
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let last = || self.node.broker().unsubscribe(self.interest.clone());
        self.node.interests.unwatch(&self.interest, last);
    }
}

fn subscribe(node: &Node, interest: Interest) -> InForce {
    let mut placed = node.broker().subscribe(interest);
    let is_in_force = (&mut placed).now_or_never().is_some();
    (!is_in_force).then(|| Box::new(placed.shared()))
}

/// Returns the future that a new share waits for: `placed`, or the renewal of the interest after a loss of the broker.
fn pending(node: &Node, placed: InForce) -> InForce {
    let placed = placed.filter(|placed| placed.peek().is_none());
    placed.or_else(|| Some(Box::new(node.broker().renewal()?.shared())))
}

impl Drop for InterestGuard {
    fn drop(&mut self) {
        if let Some(on) = &self.on {
            release(&self.node, self.shard, on);
        }
    }
}

/// Releases a share. The node's last share ends the request at the broker.
pub(super) fn release(node: &Node, shard: usize, on: &On) {
    let unsubscribe = |interest| node.broker().unsubscribe(interest);
    match on {
        On::User { user, dialect } => {
            let last = || unsubscribe(Interest::User(user.clone()));
            node.interests.release_user(user, (shard, *dialect), last);
        }
        On::Channel(channel) => {
            let last = || unsubscribe(Interest::Channel(channel.clone()));
            node.interests.release_channel(channel, shard, last);
        }
        On::Pattern(pattern) => {
            let last = || unsubscribe(Interest::AllChannels);
            node.interests.release_pattern(pattern, shard, last);
        }
    }
}
