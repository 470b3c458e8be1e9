//! Times of connections, kept by a look at all of them now and then instead of a timer for each: pings, silence,
//! expired tokens, unanswered closes, and the spread of closes at a drain. Tokens expire by the wall clock, everything
//! else goes by the node's clock, which never jumps.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::Ending;
use fanfare_ws::{Opcode, encode};

use super::{
    Shard, Transport,
    batch::plain_frame,
    connection::{Connection, HANG_UP_MS, Phase},
    talk::{Turn, millis, unix_millis},
};

/// Between two looks. Times are kept to within this.
const EVERY: Duration = Duration::from_millis(250);
/// The same while draining, so that closes are spread finely.
const EVERY_DRAINING: Duration = Duration::from_millis(50);
/// How long after connections were forgotten their memory is given back, and the block whose release makes the
/// allocator do so: it acts on what it is asked only, and only blocks of its largest kind make it look around.
const GIVE_BACK_AFTER_MS: u64 = 1_500;
const GIVE_BACK_BLOCK: usize = 1 << 20;
/// Connections looked at before other tasks of the shard get a turn.
const CHUNK: usize = 1024;

/// A drain under way on one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    began: u64,
    window_ms: u64,
    /// Connections there were when it began.
    total: usize,
    closed: usize,
}

/// Looks at all connections for ever.
pub(super) async fn run(shard: Rc<Shard>) {
    let ping = encode::frame(Opcode::Ping, b"", false);
    loop {
        tokio::time::sleep(if shard.drain.get().is_some() {
            EVERY_DRAINING
        } else {
            EVERY
        })
        .await;
        let now = shard.node.clock_ms();
        shard.continue_drain(now);
        shard.leave_due(now);
        shard.give_back(now);
        let wall = unix_millis(SystemTime::now());
        let mut from = 0;
        while shard.sweep_chunk(&mut from, now, wall, &ping) {
            tokio::task::yield_now().await;
        }
    }
}

impl Shard {
    /// Starts to close all connections, spread over `window`.
    pub(super) fn begin_drain(&self, window: Duration) {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let began = self.node.clock_ms();
        self.drain.set(Some(Drain {
            began,
            window_ms,
            total: self.len(),
            closed: 0,
        }));
        self.continue_drain(began);
        self.leave_due(u64::MAX);
    }

    /// Closes as many more as the time that has passed calls for.
    fn continue_drain(&self, now: u64) {
        let Some(mut drain) = self.drain.get() else { return };
        let due = drain.due(now);
        let mut connections = self.connections.borrow_mut();
        let open = connections
            .iter_mut()
            .filter(|(_, connection)| connection.phase == Phase::Open);
        for (_, connection) in open.take(due.saturating_sub(drain.closed)) {
            connection.end(Ending::ShuttingDown, now);
            drain.closed += 1;
        }
        self.drain.set(Some(drain));
    }

    /// Looks at some connections; `false` when it has come to the end. `wall` is the time in milliseconds since 1970.
    pub(super) fn sweep_chunk(self: &Rc<Self>, from: &mut usize, now: u64, wall: u64, ping: &Bytes) -> bool {
        let mut connections = self.connections.borrow_mut();
        let mut tools = self.tools.borrow_mut();
        let end = connections.capacity();
        let to = end.min(*from + CHUNK);
        for slot in *from..to {
            let Some(connection) = connections.get_mut(slot) else {
                continue;
            };
            let key = connection.key(slot);
            let mut turn = Turn::new(self, key, &mut tools.codec, now);
            // A conversation may be called here, and a panic in it is its connection's alone.
            if catch_unwind(AssertUnwindSafe(|| connection.keep_time(&mut turn, wall, ping))).is_err() {
                connection.failed(now);
            }
        }
        *from = to;
        to < end
    }
}

impl Shard {
    /// Once after every wave of closes, has the allocator return what the closed connections held.
    fn give_back(&self, now: u64) {
        if self
            .forgot_at
            .get()
            .is_some_and(|at| now >= at + GIVE_BACK_AFTER_MS)
        {
            self.forgot_at.set(None);
            let mut connections = self.connections.borrow_mut();
            if connections.capacity() > 1024 && connections.len() * 4 < connections.capacity() {
                connections.shrink_to_fit();
            }
            drop(connections);
            drop(std::hint::black_box(vec![0u8; GIVE_BACK_BLOCK]));
        }
    }
}

impl Drain {
    fn due(&self, now: u64) -> usize {
        let passed = now.saturating_sub(self.began);
        if passed >= self.window_ms {
            return usize::MAX; // whoever came in at the last moment, too
        }
        let share = self.total as u64 * passed / self.window_ms;
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

impl Connection {
    fn keep_time(&mut self, turn: &mut Turn<'_>, wall: u64, ping: &Bytes) {
        match self.phase {
            Phase::Open => self.keep_alive(turn, wall, ping),
            // The client was sent the close frame and does not answer it. It is let read to the end: a socket that is closed
            // while something is unread resets the connection, and what was sent may be lost.
            Phase::Closing { until } if turn.now >= until && self.nothing_queued() => {
                self.phase = Phase::Finishing {
                    until: turn.now + HANG_UP_MS,
                    finished: false,
                };
                self.wake();
            }
            Phase::Closing { until } | Phase::Finishing { until, .. } if turn.now >= until => self.gone(),
            Phase::Closing { .. } | Phase::Finishing { .. } | Phase::Gone => {}
        }
    }

    fn keep_alive(&mut self, turn: &mut Turn<'_>, wall: u64, ping: &Bytes) {
        let now = turn.now;
        if matches!(self.transport, Transport::Upgrading) {
            return; // its conversation has not begun
        }
        if now >= self.timer_at {
            self.timer_at = u64::MAX;
            self.converse(turn, |talk, context, steps| talk.timer(context, steps));
            self.flush_or_wake();
        }
        let settings = self.admission.dialect().settings();
        let (interval, timeout) = (millis(settings.ping_interval), millis(settings.ping_timeout));
        self.lapse(turn, wall);
        if wall >= self.expires_at {
            self.expires_at = u64::MAX;
            self.converse(turn, |talk, context, steps| talk.expired(context, steps));
            self.flush_or_wake();
        } else if self.asked == 0 && now - self.heard_at.min(now) >= timeout {
            self.end(Ending::PingTimeout, now);
        } else if now >= self.ping_at {
            self.ping_at = now + interval;
            // A client whose queue is full is not pinged: it would be ended for being slow at the next message anyway.
            if self.nothing_queued() {
                self.send(ping, now);
                if let Some(words) = self.admission.dialect().dialect.ping(SystemTime::now()) {
                    self.send(&plain_frame(&words), now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_closes_evenly_and_in_time() {
        let drain = Drain {
            began: 1_000,
            window_ms: 10_000,
            total: 500,
            closed: 0,
        };
        for (now, due) in [
            (900, 0),
            (1_000, 0),
            (2_000, 50),
            (6_000, 250),
            (10_999, 499),
            (11_000, usize::MAX),
        ] {
            assert_eq!(drain.due(now), due, "at {now}");
        }
        let at_once = Drain {
            window_ms: 0,
            ..drain
        };
        assert_eq!(at_once.due(1_000), usize::MAX);
    }
}
