//! Finds the patterns of a list that may match a channel, with at most one look-up by its first segment.

use ahash::AHashMap;

use super::matching::USER;
use crate::segments::{MANY, ONE};

/// The indices of patterns by their first segment, in the order of the list.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// The patterns that begin with this segment or with a wildcard.
    by_segment: AHashMap<Box<str>, Vec<usize>>,
    /// The patterns that begin with a wildcard.
    wild: Vec<usize>,
}

impl Lookup {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        let mut lookup = Self::default();
        for (index, pattern) in patterns.enumerate() {
            let first = first_segment(pattern);
            if matches!(first, ONE | MANY | USER) {
                for indices in lookup.by_segment.values_mut() {
                    indices.push(index);
                }
                lookup.wild.push(index);
            } else {
                let indices = lookup.by_segment.entry(first.into());
                indices.or_insert_with(|| lookup.wild.clone()).push(index);
            }
        }
        lookup
    }

    /// Returns the indices of the patterns that may match `name`, in order.
    pub(super) fn candidates(&self, name: &str) -> &[usize] {
        if self.by_segment.is_empty() {
            return &self.wild;
        }
        self.by_segment.get(first_segment(name)).unwrap_or(&self.wild)
    }
}

fn first_segment(name: &str) -> &str {
    name.split(['.', ':']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_in_the_order_of_the_list() {
        let patterns = ["a.b", "*.x", "b", "a:**", "**", "{user}.inbox", "a"];
        let lookup = Lookup::new(patterns.into_iter());
        let cases: [(&str, &[usize]); 4] = [
            ("a.c", &[0, 1, 3, 4, 5, 6]),
            ("b", &[1, 2, 4, 5]),
            ("c:d", &[1, 4, 5]),
            ("ab", &[1, 4, 5]),
        ];
        for (name, expected) in cases {
            assert_eq!(lookup.candidates(name), expected, "{name}");
        }
        assert!(Lookup::default().candidates("a").is_empty());
    }
}
