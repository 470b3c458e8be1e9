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

/// The time that a client may be over its rate before its connection ends.
const PATIENCE_MS: u64 = 10_000;
/// The time without a dropped message after which that time starts again.
const GOOD_AGAIN_MS: u64 = 1_000;

pub(crate) struct Meter {
    limiter: RateLimiter<NotKeyed, InMemoryState, GivenTime, NoOpMiddleware<Nanos>>,
    /// The times of the first and the last message of a series of dropped ones.
    over: Option<(u64, u64)>,
}

/// The limiter's clock, whose time is set before each check.
#[derive(Debug, Default)]
struct GivenTime(Cell<Duration>);

impl Clock for GivenTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateVerdict {
    /// The message is processed.
    Pass,
    /// The message is dropped.
    Drop,
    /// The message is dropped, and the connection ends.
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
    pub(crate) fn check(&mut self, now: u64) -> RateVerdict {
        self.limiter.clock().0.set(Duration::from_millis(now));
        let within = self.limiter.check().is_ok();
        self.decide(within, now)
    }

    fn decide(&mut self, within: bool, now: u64) -> RateVerdict {
        if within {
            return RateVerdict::Pass;
        }
        let since = match self.over {
            Some((since, last)) if now - last < GOOD_AGAIN_MS => since,
            _ => now,
        };
        self.over = Some((since, now));
        if now - since >= PATIENCE_MS {
            RateVerdict::End
        } else {
            RateVerdict::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_ended_after_ten_seconds_over_its_rate_and_a_second_within_it_starts_again() {
        let settings = DialectSettings {
            max_messages_per_second: 1,
            message_burst: 2,
            ..crate::tests::settings()
        };
        let mut meter = Meter::new(&settings).expect("a limit");
        assert_eq!(
            [meter.check(0), meter.check(0), meter.check(0)],
            [RateVerdict::Pass, RateVerdict::Pass, RateVerdict::Drop]
        );
        for at in (500..10_000).step_by(500) {
            assert_eq!(
                (meter.decide(false, at), meter.decide(true, at)),
                (RateVerdict::Drop, RateVerdict::Pass),
                "{at}"
            );
        }
        assert_eq!(meter.decide(false, 10_000), RateVerdict::End);
        assert_eq!(
            meter.decide(false, 11_000),
            RateVerdict::Drop,
            "a second without a drop forgives"
        );
        assert!(Meter::new(&crate::tests::settings()).is_none());
    }
}
