//! The rate limit of a client's messages.

use std::{cell::Cell, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

use crate::DialectSettings;

/// How long a client may be over its rate before its connection ends.
const PATIENCE_MS: u64 = 10_000;
/// How long nothing must be dropped before patience begins anew.
const GOOD_AGAIN_MS: u64 = 1_000;

pub(crate) struct Meter {
    limiter: RateLimiter<NotKeyed, InMemoryState, GivenTime, NoOpMiddleware<Nanos>>,
    /// When the first and the last message of a row of dropped ones arrived.
    over: Option<(u64, u64)>,
}

/// The limiter's time, which is set before each check: it reads no clock.
#[derive(Debug, Default)]
struct GivenTime(Cell<Duration>);

impl Clock for GivenTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It is read.
    Pass,
    /// It is dropped.
    Drop,
    /// It is dropped, and the connection ends.
    End,
}

impl Meter {
    /// Returns a meter if `settings` limit the rate.
    pub(crate) fn new(settings: &DialectSettings) -> Option<Box<Self>> {
        let rate = NonZeroU32::new(settings.max_messages_per_second)?;
        let burst = NonZeroU32::new(settings.message_burst).unwrap_or(rate);
        let quota = Quota::per_second(rate).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, GivenTime::default());
        Some(Box::new(Self { limiter, over: None }))
    }

    /// Counts a message at `now`, in milliseconds of the node's clock, and decides about it.
    pub(crate) fn rule(&mut self, now: u64) -> Ruling {
        self.limiter.clock().0.set(Duration::from_millis(now));
        let within = self.limiter.check().is_ok();
        self.judge(within, now)
    }

    fn judge(&mut self, within: bool, now: u64) -> Ruling {
        if within {
            return Ruling::Pass;
        }
        let since = match self.over {
            Some((since, last)) if now - last < GOOD_AGAIN_MS => since,
            _ => now,
        };
        self.over = Some((since, now));
        if now - since >= PATIENCE_MS {
            Ruling::End
        } else {
            Ruling::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_for_ten_seconds_in_a_row() {
        let settings = DialectSettings {
            max_messages_per_second: 1,
            message_burst: 2,
            ..crate::tests::settings()
        };
        let mut meter = Meter::new(&settings).expect("a limit");
        assert_eq!(
            [meter.rule(0), meter.rule(0), meter.rule(0)],
            [Ruling::Pass, Ruling::Pass, Ruling::Drop]
        );
        for at in (500..10_000).step_by(500) {
            assert_eq!(
                (meter.judge(false, at), meter.judge(true, at)),
                (Ruling::Drop, Ruling::Pass),
                "{at}"
            );
        }
        assert_eq!(meter.judge(false, 10_000), Ruling::End);
        assert_eq!(
            meter.judge(false, 11_000),
            Ruling::Drop,
            "a second without a drop forgives"
        );
        assert!(Meter::new(&crate::tests::settings()).is_none());
    }
}
