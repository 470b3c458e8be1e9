//! Decides whether a node without its broker is ready.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fanfare_core::locked;

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Half of the usual timeout of orchestrators.
const GRACE_TIMEOUT: Duration = Duration::from_millis(500);

/// The grace period in which a node that has lost its broker stays ready.
pub struct Readiness {
    grace: Duration,
    broker: Mutex<BrokerState>,
}

#[derive(Clone, Copy)]
enum BrokerState {
    NotYet,
    Available,
    LostAt(Instant),
}

impl Readiness {
    /// Returns the readiness of a node that has not reached its broker yet.
    pub fn new(grace: Duration) -> Arc<Self> {
        let broker = Mutex::new(BrokerState::NotYet);
        Arc::new(Self { grace, broker })
    }

    /// Records that a probe returned through the broker.
    pub fn broker_answered(&self) {
        *locked(&self.broker) = BrokerState::Available;
    }

    /// Records that a probe did not return, and returns whether the node is still ready.
    pub(super) fn is_ready_without_broker(&self, now: Instant) -> bool {
        let mut seen = locked(&self.broker);
        let since = match *seen {
            BrokerState::NotYet => return false,
            BrokerState::Available => now,
            BrokerState::LostAt(since) => since,
        };
        *seen = BrokerState::LostAt(since);
        now.duration_since(since) < self.grace
    }

    /// Returns the timeout of a probe. In the grace period the reply must arrive before the orchestrator's timeout.
    pub(super) fn probe_timeout(&self, now: Instant) -> Duration {
        let is_excused = match *locked(&self.broker) {
            BrokerState::NotYet => false,
            BrokerState::Available => !self.grace.is_zero(),
            BrokerState::LostAt(since) => now.duration_since(since) < self.grace,
        };
        if is_excused { GRACE_TIMEOUT } else { PROBE_TIMEOUT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_ready_for_its_grace_after_it_loses_its_broker() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let readiness = Readiness::new(second * 30);
        assert!(!readiness.is_ready_without_broker(start), "it was never reached");
        readiness.broker_answered();
        assert!(readiness.is_ready_without_broker(start));
        assert!(readiness.is_ready_without_broker(start + second * 29));
        assert!(!readiness.is_ready_without_broker(start + second * 30));
        readiness.broker_answered();
        assert!(
            readiness.is_ready_without_broker(start + second * 31),
            "each absence has its own grace"
        );
        assert_eq!(readiness.probe_timeout(start + second * 60), GRACE_TIMEOUT);
        assert_eq!(
            readiness.probe_timeout(start + second * 61),
            PROBE_TIMEOUT,
            "a slow broker is waited for"
        );
        let strict = Readiness::new(Duration::ZERO);
        strict.broker_answered();
        assert!(!strict.is_ready_without_broker(start));
    }
}
