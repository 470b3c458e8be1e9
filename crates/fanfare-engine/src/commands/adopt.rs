//! Switches a connection whose client speaks another dialect than the one of its path.

use std::sync::atomic::Ordering::Relaxed;

use fanfare_core::UserAtCapacity;

use super::{Doing, after};
use crate::{Admission, directory::Directory, interest_guard::InterestGuard, slots, turn::Turn};

/// Switches the connection to the dialect that its client speaks with `text`, if that dialect admits it.
pub(crate) fn adopt(turn: &mut Turn<'_>, text: Box<str>) -> Doing {
    let connection = &mut turn.driver.connection;
    let Some(mounted) = connection.take_successor() else {
        return Doing::Closed; // it was switched already
    };
    let identity = connection.subscriber.identity.clone();
    if mounted.dialect.admit(identity.as_deref()).is_err() {
        return close(turn, 1008, "forbidden");
    }
    let (node, shard) = (&turn.shard.node, turn.shard.number);
    let user = identity.as_ref().map(|identity| &identity.user);
    let hold = user
        .map(|user| InterestGuard::user(node, shard, &mounted, user))
        .transpose();
    let admission = Admission::take(&mounted, connection.admission.address(), None);
    let (Ok(hold), Ok(mut admission)) = (hold, admission) else {
        return close(turn, 1013, "at capacity");
    };
    let slot = slots::of_user(node, &mounted, user);
    after(slot, move |turn, slot| match slot {
        Ok(slot) => {
            admission.keep(slot);
            let hold = hold.map(|(hold, _)| hold); // the node receives the user's events already
            switch(turn, admission, hold);
            Doing::Adopted(text)
        }
        Err(UserAtCapacity) => close(turn, 1013, "at capacity"),
    })
}

fn switch(turn: &mut Turn<'_>, admission: Admission, hold: Option<InterestGuard>) {
    let directory = &turn.shard.directory;
    let connection = &mut turn.driver.connection;
    directory.release_user(connection);
    admission.dialect().counters.opened.fetch_add(1, Relaxed);
    connection.switch(admission, turn.moment);
    Directory::keep_user(connection, hold);
    directory.refresh(turn.key, connection);
}

/// Closes the connection. The code 1013 means "try again later"; it is in the registry of RFC 6455.
fn close(turn: &mut Turn<'_>, code: u16, reason: &str) -> Doing {
    turn.driver.connection.close(code, reason, turn.moment.ms);
    Doing::Closed
}
