//! The times of a connection: pings, silence, the expiry of its credential, and its conversation's timer. The credential expires
//! by the time of day; all others use the monotonic clock.

use std::time::Duration;

use crate::{
    DialectSettings,
    clock::{Moment, millis},
};

/// The times of one connection. All are in milliseconds of the node's clock; only [`Liveness::expiry`] is a time of day.
#[derive(Debug)]
pub(crate) struct Liveness {
    pub(crate) opened_at: u64,
    last_read: u64,
    next_ping: u64,
    /// The time of the conversation's timer.
    timer: u64,
    /// The time of the client's last ping or pong; 0 for none.
    pub(crate) pinged_at: u64,
    /// The expiry of the credential, in milliseconds since 1970, because the time of day may be corrected.
    pub(super) expiry: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The credential has expired.
    Expiry,
    /// The client has sent nothing for too long.
    Silence,
    /// The client must be pinged.
    Ping,
}

impl Liveness {
    pub(super) fn new(settings: &DialectSettings, now: u64) -> Self {
        Self {
            opened_at: now,
            last_read: now,
            next_ping: now + millis(settings.ping_interval),
            timer: u64::MAX,
            pinged_at: 0,
            expiry: u64::MAX,
        }
    }

    /// Records that bytes arrived, or that none could be read until now.
    pub(crate) fn read(&mut self, now: u64) {
        self.last_read = now;
    }

    /// Returns the time since bytes last arrived, in milliseconds.
    pub(crate) fn silence(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_read)
    }

    /// Returns the expiry of the credential, in milliseconds since 1970; `None` is never.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        Some(self.expiry).filter(|expiry| *expiry < u64::MAX)
    }

    pub(super) fn pinged(&mut self, now: u64) {
        self.pinged_at = now.max(1);
    }

    /// Sets the conversation's timer; `None` clears it.
    pub(super) fn set_timer(&mut self, after: Option<Duration>, now: u64) {
        self.timer = after.map_or(u64::MAX, |after| now.saturating_add(millis(after)));
    }

    /// Returns whether the conversation's timer has expired, and clears it.
    pub(super) fn take_timer(&mut self, now: u64) -> bool {
        let is_over = now >= self.timer;
        if is_over {
            self.timer = u64::MAX;
        }
        is_over
    }

    /// Takes the next due action. Silence does not count while nothing is read from the connection (`is_waiting`).
    pub(super) fn take_due(
        &mut self,
        settings: &DialectSettings,
        is_waiting: bool,
        moment: Moment,
    ) -> Option<Due> {
        let now = moment.ms;
        if moment.unix_ms() >= self.expiry {
            self.expiry = u64::MAX;
            Some(Due::Expiry)
        } else if !is_waiting && now.saturating_sub(self.last_read) >= millis(settings.ping_timeout) {
            Some(Due::Silence)
        } else if now >= self.next_ping {
            self.next_ping = now + millis(settings.ping_interval);
            Some(Due::Ping)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::tests::settings;

    fn at(ms: u64, unix_ms: u64) -> Moment {
        Moment {
            ms,
            wall: UNIX_EPOCH + Duration::from_millis(unix_ms),
        }
    }

    #[test]
    fn a_silent_client_is_pinged_and_then_ended() {
        let (settings, wall) = (settings(), 1_000_000);
        let mut liveness = Liveness::new(&settings, 500);
        for (now, is_waiting, due) in [
            (30_499, false, None),
            (30_500, false, Some(Due::Ping)),
            (30_501, false, None),
            (60_499, false, None),
            (60_500, true, Some(Due::Ping)),
            (60_500, false, Some(Due::Silence)),
        ] {
            assert_eq!(
                liveness.take_due(&settings, is_waiting, at(now, wall)),
                due,
                "{now}"
            );
        }
        liveness.read(60_500);
        assert_eq!(liveness.take_due(&settings, false, at(60_500, wall)), None);
    }

    #[test]
    fn a_credential_expires_once_and_by_the_time_of_day() {
        let mut liveness = Liveness::new(&settings(), 0);
        liveness.expiry = 5_000;
        for (now, wall, due) in [
            (10_000, 4_999, None),
            (1, 5_000, Some(Due::Expiry)),
            (1, 9_000, None),
        ] {
            assert_eq!(liveness.take_due(&settings(), false, at(now, wall)), due);
        }
    }

    #[test]
    fn a_timer_expires_once() {
        let mut liveness = Liveness::new(&settings(), 0);
        liveness.set_timer(Some(Duration::from_millis(5)), 10);
        assert_eq!(
            [14, 15, 16].map(|now| liveness.take_timer(now)),
            [false, true, false]
        );
        liveness.set_timer(Some(Duration::ZERO), 20);
        liveness.set_timer(None, 20);
        assert!(!liveness.take_timer(30));
    }
}
