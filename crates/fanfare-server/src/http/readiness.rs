//! Decides whether a node that has lost its broker is still ready.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fanfare_core::locked;

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Half of the usual timeout of orchestrators.
const EXCUSED_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a node that has lost its broker stays ready.
pub struct Readiness {
    grace: Duration,
    broker: Mutex<BrokerSeen>,
}

#[derive(Clone, Copy)]
enum BrokerSeen {
    NotYet,
    Here,
    AwaySince(Instant),
}

impl Readiness {
    /// The readiness of a node that has not reached its broker yet.
    pub fn new(grace: Duration) -> Arc<Self> {
        let broker = Mutex::new(BrokerSeen::NotYet);
        Arc::new(Self { grace, broker })
    }

    /// Notes that a probe returned through the broker.
    pub fn broker_answered(&self) {
        *locked(&self.broker) = BrokerSeen::Here;
    }

    /// Notes at `now` that a probe did not return, and returns whether the node is still ready.
    pub(super) fn is_excused(&self, now: Instant) -> bool {
        let mut seen = locked(&self.broker);
        let since = match *seen {
            BrokerSeen::NotYet => return false,
            BrokerSeen::Here => now,
            BrokerSeen::AwaySince(since) => since,
        };
        *seen = BrokerSeen::AwaySince(since);
        now.duration_since(since) < self.grace
    }

    /// Returns how long a probe may take. While the broker's silence is excused, the reply must arrive before the orchestrator's timeout.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let is_excused = match *locked(&self.broker) {
            BrokerSeen::NotYet => false,
            BrokerSeen::Here => !self.grace.is_zero(),
            BrokerSeen::AwaySince(since) => now.duration_since(since) < self.grace,
        };
        if is_excused {
            EXCUSED_TIMEOUT
        } else {
            PROBE_TIMEOUT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_excused_for_a_while_once_it_was_reached() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let readiness = Readiness::new(second * 30);
        assert!(!readiness.is_excused(start), "it was never reached");
        readiness.broker_answered();
        assert!(readiness.is_excused(start));
        assert!(readiness.is_excused(start + second * 29));
        assert!(!readiness.is_excused(start + second * 30));
        readiness.broker_answered();
        assert!(
            readiness.is_excused(start + second * 31),
            "each absence has its own grace"
        );
        assert_eq!(readiness.patience(start + second * 60), EXCUSED_TIMEOUT);
        assert_eq!(
            readiness.patience(start + second * 61),
            PROBE_TIMEOUT,
            "a slow broker is waited for"
        );
        let strict = Readiness::new(Duration::ZERO);
        strict.broker_answered();
        assert!(!strict.is_excused(start));
    }
}
