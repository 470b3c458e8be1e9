//! Whether a database can be used, as far as the last operations have shown: so that it is told once that it went, and once
//! that it is back.

use super::Outage;

/// How a database was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It does what it is asked.
    Good,
    /// It takes no changes. That it can be read proves nothing, because it could be all the time.
    Unwritable,
    /// It cannot be used at all.
    Away,
}

/// What an operation that succeeded has shown.
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
}
