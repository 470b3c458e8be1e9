//! Authenticates a client, or renews its credential.

use std::sync::Arc;

use fanfare_core::{
    Channel, Denial, EVERYONE_CHANNEL, Identity, Outcome, Subscription, Token,
    policy::{Action, Permission},
};

use super::{CommandState, after, denied};
use crate::{directory::Directory, in_force, interest_guard::InterestGuard, slots, turn::Turn};

/// Verifies the credential, and continues with its identity.
pub(super) fn identify(
    turn: &mut Turn<'_>,
    credential: Token,
    next: impl FnOnce(&mut Turn<'_>, Arc<Identity>) -> CommandState + 'static,
) -> CommandState {
    let node = turn.shard.node.clone();
    let dialect = turn.connection().mounted().name;
    let work = async move { node.authenticator.identify(dialect, &credential.0).await };
    after(work, |turn, identified| match identified {
        Ok(identity) => next(turn, identity),
        Err(denial) => denied(denial),
    })
}

pub(super) fn authenticate(turn: &mut Turn<'_>, credential: Token) -> CommandState {
    identify(turn, credential, |turn, identity| {
        let connection = turn.connection();
        if connection.mounted().dialect.admit(Some(&identity)).is_err() {
            return denied(Denial::Forbidden);
        }
        match &connection.subscriber.identity {
            Some(own) if own.user != identity.user => denied(Denial::OtherUser),
            Some(_) => renew(turn, identity),
            None => become_user(turn, identity),
        }
    })
}

/// Gives an anonymous connection its user, if the user may have one more connection.
fn become_user(turn: &mut Turn<'_>, identity: Arc<Identity>) -> CommandState {
    let mounted = turn.connection().mounted().clone();
    let (node, shard) = (&turn.shard.node, turn.shard.number);
    let Ok((guard, placed)) = InterestGuard::user(node, shard, &mounted, &identity.user) else {
        return denied(Denial::UserAtCapacity);
    };
    let slot = slots::of_user(node, &mounted, Some(&identity.user));
    let work = async move {
        let ((), slot) = tokio::join!(in_force::wait(placed), slot);
        (identity, guard, slot)
    };
    after(work, |turn, (identity, guard, slot)| {
        let Ok(slot) = slot else {
            return denied(Denial::UserAtCapacity);
        };
        if turn.shard.node.authenticator.is_revoked(&identity) {
            return denied(Denial::BadCredential);
        }
        let connection = turn.connection();
        Directory::keep_user(connection, Some(guard));
        connection.admission.keep_user_slot(slot);
        renew(turn, identity)
    })
}

/// Applies a new credential, and ends the subscriptions that it does not allow.
fn renew(turn: &mut Turn<'_>, identity: Arc<Identity>) -> CommandState {
    let access = &turn.shard.node.access;
    let connection = &mut turn.driver.connection;
    let subscriber = &connection.subscriber;
    let ends = |wanted: &&Subscription| match access.may_subscribe(Some(&identity), wanted) {
        Permission::Denied => {
            !matches!(wanted, Subscription::Channel(channel) if subscriber.has_credential(channel))
        }
        Permission::Allowed | Permission::Pending(_) => false, // the authorizer's earlier answer still holds
    };
    let ended: Vec<_> = subscriber.all().filter(ends).cloned().collect();
    let everyone = Channel::new(EVERYONE_CHANNEL).ok().and_then(|channel| {
        match access.judge(Some(&identity), Action::Subscribe, &channel) {
            Permission::Allowed => Some(true),
            Permission::Denied => Some(false),
            Permission::Pending(_) => None, // as above
        }
    });
    connection.identify(identity);
    for wanted in &ended {
        turn.shard.directory.unsubscribe(turn.key, connection, wanted);
    }
    connection.subscriber.reassess(everyone);
    turn.shard.directory.refresh(turn.key, connection);
    CommandState::Answered(Ok(Outcome::Authenticated))
}
