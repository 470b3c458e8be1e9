//! Looks at all connections from time to time, instead of a timer for each: pings, silence, expired tokens, unanswered closes, and
//! the closes of a drain.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use fanfare_core::Ending;

use super::{Shard, clock::Moment, perform, turn::Turn};

/// The time between two looks, which is the precision of connections' times.
const EVERY: Duration = Duration::from_millis(250);
/// The same while draining, so that closes are spread evenly.
const EVERY_DRAINING: Duration = Duration::from_millis(50);
/// How long after the end of connections their memory is returned, and the size of the block whose release makes the allocator do
/// so: it acts only on a release, and only that of a block of its largest kind.
const GIVE_BACK_AFTER_MS: u64 = 1_500;
const GIVE_BACK_BLOCK: usize = 1 << 20;
/// The connections that are visited before the shard yields to its other tasks.
const CHUNK: usize = 1024;

pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let is_draining = shard.drain.get().is_some();
        tokio::time::sleep(if is_draining { EVERY_DRAINING } else { EVERY }).await;
        let moment = shard.node.now();
        continue_drain(&shard, moment);
        leave_due(&shard, moment.ms);
        give_back(&shard, moment.ms);
        let mut from = 0;
        while sweep_chunk(&shard, &mut from, moment) {
            tokio::task::yield_now().await;
        }
    }
}

/// Closes the connections that are due at this time of the drain.
pub(super) fn continue_drain(shard: &Shard, moment: Moment) {
    let Some(mut drain) = shard.drain.get() else {
        return;
    };
    let due = drain.due(moment.ms).saturating_sub(drain.closed);
    let mut connections = shard.connections.borrow_mut();
    let open = connections
        .iter_mut()
        .filter(|driver| driver.connection.is_open());
    for driver in open.take(due) {
        driver.end(Ending::ShuttingDown, moment);
        drain.closed += 1;
    }
    shard.drain.set(Some(drain));
}

/// Leaves the rooms of absent users whose grace is over at `now`.
pub(super) fn leave_due(shard: &Shard, now: u64) {
    let due = shard.absentees.borrow_mut().take_due(now);
    for (room, user) in due {
        shard.node.broker().leave(room, user);
    }
}

/// Looks at the next connections; returns `false` after the last.
pub(super) fn sweep_chunk(shard: &Rc<Shard>, from: &mut usize, moment: Moment) -> bool {
    let mut connections = shard.connections.borrow_mut();
    let mut tools = shard.tools.borrow_mut();
    let end = connections.slots();
    let to = end.min(*from + CHUNK);
    for slot in *from..to {
        let Some((key, driver)) = connections.in_slot(slot) else {
            continue;
        };
        if driver.is_upgrading() && driver.connection.is_open() {
            continue; // its conversation has not begun
        }
        let mut turn = Turn::new(shard, (key, driver), &mut tools.codec, moment);
        // A panic in a conversation must end only its connection.
        if catch_unwind(AssertUnwindSafe(|| perform::keep_time(&mut turn))).is_err() {
            turn.driver.failed(moment);
        }
    }
    *from = to;
    to < end
}

/// Returns the memory of ended connections to the system, once after a wave of closes.
fn give_back(shard: &Shard, now: u64) {
    let is_due = |at: u64| now >= at + GIVE_BACK_AFTER_MS;
    if shard.forgot_at.get().is_some_and(is_due) {
        shard.forgot_at.set(None);
        shard.connections.borrow_mut().shrink();
        drop(std::hint::black_box(vec![0u8; GIVE_BACK_BLOCK]));
    }
}
