//! Visits all connections periodically, instead of a timer for each: pings, silence, expired tokens, unanswered closes, and the
//! closes of a drain.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use fanfare_core::Ending;

use super::{Shard, clock::Moment, perform, turn::Turn};

/// The time between two visits, which is the precision of connections' times.
const EVERY: Duration = Duration::from_millis(250);
/// The same while draining, so that closes are spread evenly.
const EVERY_DRAINING: Duration = Duration::from_millis(50);
/// The time after the last removal of a connection at which memory is released to the system.
const RELEASE_AFTER_MS: u64 = 1_500;
/// The size of a block of the allocator's largest kind. The allocator releases memory to the system only when such a block is freed.
const RELEASE_BLOCK: usize = 1 << 20;
/// The connections that are visited before the shard yields to its other tasks.
const CHUNK: usize = 1024;

pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let is_draining = shard.drain.get().is_some();
        tokio::time::sleep(if is_draining { EVERY_DRAINING } else { EVERY }).await;
        let moment = shard.node.now();
        continue_drain(&shard, moment);
        leave_due(&shard, moment.ms);
        release_memory(&shard, moment.ms);
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

/// Visits the next connections; returns `false` after the last.
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
        if catch_unwind(AssertUnwindSafe(|| perform::handle_timers(&mut turn))).is_err() {
            turn.driver.end_after_panic(moment);
        }
    }
    *from = to;
    to < end
}

/// Releases the memory of removed connections to the system, once after a wave of closes.
fn release_memory(shard: &Shard, now: u64) {
    let is_due = |at: u64| now >= at + RELEASE_AFTER_MS;
    if shard.removed_at.get().is_some_and(is_due) {
        shard.removed_at.set(None);
        shard.connections.borrow_mut().shrink();
        drop(std::hint::black_box(vec![0u8; RELEASE_BLOCK]));
    }
}
