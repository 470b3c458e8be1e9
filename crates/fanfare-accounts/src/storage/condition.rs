//! The condition of the database, by the results of the last operations, and its changes for the log.

use std::time::{Duration, Instant};

use super::Outage;

/// The time without a failure after which the log reports that the database is available again. Without it, a database
/// that refuses only some operations, because it has too few connections, would fill the log.
const SETTLED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Failed,
    Back,
}

#[derive(Debug)]
pub(super) struct Condition {
    /// The reason why the database cannot be used; `None` if it can.
    outage: Option<Outage>,
    /// The time at which the database last became usable, read-only or unusable.
    changed: Instant,
    /// The last failure, until the log reports that the database is available again.
    failed: Option<Instant>,
}

impl Condition {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outage: None,
            changed: now,
            failed: None,
        }
    }

    /// Returns the reason why the database cannot be used; `None` if it can.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// Records the result of an operation that began at `began`, and returns the change to log. `Ok` is whether the
    /// operation has changed rows.
    ///
    /// An operation that began before the last change may end long after it, so it proves nothing about the time since.
    pub(super) fn record(
        &mut self,
        found: Result<bool, Outage>,
        began: Instant,
        now: Instant,
    ) -> Option<Change> {
        if began < self.changed {
            return None;
        }
        let outage = match found {
            Err(outage) => Some(outage),
            Ok(true) => None,
            // A read proves nothing if only changes had failed.
            Ok(false) => self.outage.filter(|outage| outage.only_stops_changes()),
        };
        let kind = |outage: Option<Outage>| outage.map(Outage::only_stops_changes);
        if kind(outage) != kind(self.outage) {
            self.changed = now;
        }
        self.outage = outage;
        if found.is_err() {
            return self.failed.replace(now).is_none().then_some(Change::Failed);
        }
        let settled = self.failed.is_some_and(|failed| began >= failed + SETTLED);
        (outage.is_none() && settled).then(|| {
            self.failed = None;
            Change::Back
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_change_only_a_change_ends_the_outage() {
        let now = Instant::now();
        let after = |outage, has_written| {
            let mut condition = Condition::new(now);
            condition.record(Err(outage), now, now);
            condition.record(Ok(has_written), now, now);
            condition.outage()
        };
        for outage in [Outage::Locked, Outage::ReadOnly, Outage::Full, Outage::Broken] {
            assert_eq!((after(outage, false), after(outage, true)), (Some(outage), None));
        }
        for outage in [Outage::Unreachable, Outage::Slow, Outage::Missing] {
            assert_eq!(after(outage, false), None, "{outage}");
        }
    }

    const DONE: Result<bool, Outage> = Ok(true);
    const FAILED: Result<bool, Outage> = Err(Outage::Unreachable);

    /// Records each (result, began, ended), in milliseconds, and returns the reports.
    fn reports(operations: &[(Result<bool, Outage>, u64, u64)]) -> Vec<Change> {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut condition = Condition::new(start);
        let record = |&(found, began, ended): &_| condition.record(found, at(began), at(ended));
        operations.iter().filter_map(record).collect()
    }

    #[test]
    fn the_reason_is_known_while_the_outage_lasts() {
        let now = Instant::now();
        let mut condition = Condition::new(now);
        assert_eq!(condition.outage(), None);
        for (found, expected) in [
            (Err(Outage::Unreachable), Some(Outage::Unreachable)),
            (Err(Outage::Full), Some(Outage::Full)),
            (Ok(false), Some(Outage::Full)),
            (Ok(true), None),
        ] {
            condition.record(found, now, now);
            assert_eq!(condition.outage(), expected, "{found:?}");
        }
    }

    #[test]
    fn an_outage_is_reported_once() {
        let outage = [(DONE, 0, 1), (FAILED, 2, 3), (FAILED, 4, 5)];
        assert_eq!(reports(&outage), [Change::Failed]);
        let over = [&outage[..], &[(DONE, 2000, 2001), (DONE, 2002, 2003)]].concat();
        assert_eq!(reports(&over), [Change::Failed, Change::Back]);
        let again = [&over[..], &[(FAILED, 2004, 2005)]].concat();
        assert_eq!(reports(&again), [Change::Failed, Change::Back, Change::Failed]);
    }

    #[test]
    fn a_database_that_refuses_only_some_operations_is_reported_once() {
        let some = (0..10_000u64).map(|n| (if n % 2 == 0 { FAILED } else { DONE }, n * 10, n * 10 + 1));
        assert_eq!(reports(&some.collect::<Vec<_>>()), [Change::Failed]);
    }

    #[test]
    fn operations_that_began_before_a_change_prove_nothing_about_the_time_since() {
        // Begun before the outage and ended in it; begun in the outage and ended after it.
        let late = [
            (FAILED, 10, 20),
            (DONE, 5, 2000),
            (DONE, 3000, 3001),
            (FAILED, 100, 8100),
        ];
        assert_eq!(reports(&late), [Change::Failed, Change::Back]);
    }
}
