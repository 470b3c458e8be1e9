//! Whether the last operations could use the database, and the log's lines about it.

use std::time::{Duration, Instant};

use super::Outage;

/// How long no operation may fail before the log reports that the database is back. Without it, a database that serves
/// some operations and refuses others, such as one with too few connections, would fill the log.
const SETTLED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It works.
    Good,
    /// It accepts no changes. A successful read proves nothing here, because reads may have worked all the time.
    Unwritable,
    /// It cannot be used at all.
    Away,
}

/// The proof that a successful operation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    OfReading,
    OfWriting,
}

impl Condition {
    pub(super) fn of(outage: Outage) -> Self {
        match outage {
            Outage::Locked | Outage::ReadOnly | Outage::Full | Outage::Broken => Self::Unwritable,
            Outage::Unreachable
            | Outage::Slow
            | Outage::Corrupt
            | Outage::Denied
            | Outage::Missing
            | Outage::Parameters => Self::Away,
        }
    }

    pub(super) fn after(self, proof: Proof) -> Self {
        match (self, proof) {
            (Self::Unwritable, Proof::OfReading) => Self::Unwritable,
            _ => Self::Good,
        }
    }
}

/// A change that the log reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Failed,
    Back,
}

#[derive(Debug)]
pub(super) struct History {
    condition: Condition,
    /// Why the last operation failed, if one has.
    outage: Option<Outage>,
    /// When the condition last changed.
    changed: Instant,
    /// The last failure, until the log reports that the database is back.
    failed: Option<Instant>,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            condition: Condition::Good,
            outage: None,
            changed: now,
            failed: None,
        }
    }

    /// Returns why the database cannot be used; `None` if it can.
    pub(super) fn outage(&self) -> Option<Outage> {
        self.outage.filter(|_| self.condition != Condition::Good)
    }

    /// Records the result of an operation that began at `began`, and returns the change to log.
    ///
    /// An operation that began before the last change may end long after it, and proves nothing about the time since.
    pub(super) fn record(
        &mut self,
        found: Result<Proof, Outage>,
        began: Instant,
        now: Instant,
    ) -> Option<Change> {
        if began < self.changed {
            return None;
        }
        let condition = match found {
            Ok(proof) => self.condition.after(proof),
            Err(outage) => Condition::of(outage),
        };
        if condition != self.condition {
            self.condition = condition;
            self.changed = now;
        }
        if let Err(outage) = found {
            self.outage = Some(outage);
            return self.failed.replace(now).is_none().then_some(Change::Failed);
        }
        let settled = self.failed.is_some_and(|failed| began >= failed + SETTLED);
        (self.outage().is_none() && settled).then(|| {
            self.failed = None;
            Change::Back
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_shows_that_changes_are_taken() {
        for outage in [Outage::Locked, Outage::ReadOnly, Outage::Full, Outage::Broken] {
            let found = Condition::of(outage);
            assert_eq!(found.after(Proof::OfReading), Condition::Unwritable, "{outage}");
            assert_eq!(found.after(Proof::OfWriting), Condition::Good, "{outage}");
        }
        for outage in [Outage::Unreachable, Outage::Slow, Outage::Missing] {
            assert_eq!(
                Condition::of(outage).after(Proof::OfReading),
                Condition::Good,
                "{outage}"
            );
        }
        assert_eq!(Condition::Good.after(Proof::OfReading), Condition::Good);
    }

    const DONE: Result<Proof, Outage> = Ok(Proof::OfWriting);
    const FAILED: Result<Proof, Outage> = Err(Outage::Unreachable);

    /// Records each (result, began, ended), in milliseconds, and returns the reports.
    fn reports(operations: &[(Result<Proof, Outage>, u64, u64)]) -> Vec<Change> {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut history = History::new(start);
        let record = |&(found, began, ended): &_| history.record(found, at(began), at(ended));
        operations.iter().filter_map(record).collect()
    }

    #[test]
    fn the_reason_is_known_while_the_outage_lasts() {
        let now = Instant::now();
        let mut history = History::new(now);
        assert_eq!(history.outage(), None);
        for (found, expected) in [
            (Err(Outage::Unreachable), Some(Outage::Unreachable)),
            (Err(Outage::Full), Some(Outage::Full)),
            (Ok(Proof::OfReading), Some(Outage::Full)),
            (Ok(Proof::OfWriting), None),
        ] {
            history.record(found, now, now);
            assert_eq!(history.outage(), expected, "{found:?}");
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
    fn a_database_that_serves_some_and_refuses_others_has_failed_once() {
        let some = (0..10_000u64).map(|n| (if n % 2 == 0 { FAILED } else { DONE }, n * 10, n * 10 + 1));
        assert_eq!(reports(&some.collect::<Vec<_>>()), [Change::Failed]);
    }

    #[test]
    fn what_began_before_a_change_shows_nothing_of_the_time_since() {
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
