//! Switches a connection to the guest of its path (ARCHITECTURE.md: "A path for two dialects").

use std::sync::atomic::Ordering::Relaxed;

use fanfare_core::UserAtCapacity;

use super::{CommandState, after};
use crate::{Admission, directory::Directory, interest_guard::InterestGuard, slots, turn::Turn};

/// Switches the connection to the guest of its path, which has recognised `text`, if the guest admits it.
pub(crate) fn switch_dialect(turn: &mut Turn<'_>, text: Box<str>) -> CommandState {
    let connection = &mut turn.driver.connection;
    let Some(mounted) = connection.take_guest() else {
        return CommandState::Closed; // it has already switched
    };
    let identity = connection.subscriber.identity.clone();
    if mounted.dialect.admit(identity.as_deref()).is_err() {
        return close(turn, 1008, "forbidden");
    }
    let (node, shard) = (&turn.shard.node, turn.shard.number);
    let user = identity.as_ref().map(|identity| &identity.user);
    let guard = user
        .map(|user| InterestGuard::user(node, shard, &mounted, user))
        .transpose();
    let admission = Admission::take(&mounted, connection.admission.address(), None);
    let (Ok(guard), Ok(mut admission)) = (guard, admission) else {
        return close(turn, 1013, "at capacity");
    };
    let slot = slots::of_user(node, &mounted, user);
    after(slot, move |turn, slot| match slot {
        Ok(slot) => {
            admission.keep_user_slot(slot);
            let guard = guard.map(|(guard, _)| guard); // the node already receives the user's events
            switch(turn, admission, guard);
            CommandState::Switched(text)
        }
        Err(UserAtCapacity) => close(turn, 1013, "at capacity"),
    })
}

fn switch(turn: &mut Turn<'_>, admission: Admission, guard: Option<InterestGuard>) {
    let directory = &turn.shard.directory;
    let connection = &mut turn.driver.connection;
    directory.release_user(connection);
    admission.dialect().counters.opened.fetch_add(1, Relaxed);
    connection.switch(admission, turn.moment);
    Directory::keep_user(connection, guard);
    directory.refresh(turn.key, connection);
}

/// Closes the connection. The code 1013 means "try again later"; it is in the registry of RFC 6455.
fn close(turn: &mut Turn<'_>, code: u16, reason: &str) -> CommandState {
    turn.driver.connection.close(code, reason, turn.moment.ms);
    CommandState::Closed
}
