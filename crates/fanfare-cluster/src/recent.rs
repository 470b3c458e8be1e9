//! The publications that were delivered without their echo, so that a late echo is recognised.

use std::{collections::VecDeque, time::Duration};

use ahash::AHashSet;
use tokio::time::Instant;

const LONGEST: Duration = Duration::from_secs(600);
const MOST: usize = 100_000;

/// A set of numbers that evicts those older than ten minutes, and above a hundred thousand the oldest.
#[derive(Default)]
pub(crate) struct Recent {
    known: AHashSet<u64>,
    by_age: VecDeque<(Instant, u64)>,
}

impl Recent {
    pub(crate) fn insert(&mut self, number: u64, now: Instant) {
        while let Some((since, oldest)) = self.by_age.front().copied()
            && (self.by_age.len() >= MOST || now.duration_since(since) > LONGEST)
        {
            self.by_age.pop_front();
            self.known.remove(&oldest);
        }
        if self.known.insert(number) {
            self.by_age.push_back((now, number));
        }
    }

    /// Removes `number`. Returns whether the set contained it.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        self.known.remove(&number)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.known.contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_by_age_and_by_number() {
        let start = Instant::now();
        let mut recent = Recent::default();
        recent.insert(1, start);
        recent.insert(1, start);
        recent.insert(2, start + LONGEST);
        assert!(recent.contains(1) && recent.contains(2));
        recent.insert(3, start + LONGEST + Duration::from_secs(1));
        assert!(!recent.contains(1) && recent.contains(2) && recent.contains(3));
        let most = MOST as u64;
        for number in 10..10 + most {
            recent.insert(number, start + LONGEST);
        }
        assert!(!recent.contains(3) && recent.contains(10));
        assert_eq!((recent.known.len(), recent.by_age.len()), (MOST, MOST));
    }
}
