//! Finds the patterns of an ordered list that could match a channel, by its first segment: with one look-up at most.

use ahash::AHashMap;

use super::matching::USER;
use crate::segments::{MANY, ONE};

#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Patterns that begin with this segment or with a wildcard.
    beginning: AHashMap<Box<str>, Vec<usize>>,
    /// Patterns that begin with a wildcard.
    open: Vec<usize>,
}

impl Lookup {
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        let mut lookup = Self::default();
        for (place, pattern) in patterns.enumerate() {
            let first = first_segment(pattern);
            if matches!(first, ONE | MANY | USER) {
                for places in lookup.beginning.values_mut() {
                    places.push(place);
                }
                lookup.open.push(place);
            } else {
                let places = lookup.beginning.entry(first.into());
                places.or_insert_with(|| lookup.open.clone()).push(place);
            }
        }
        lookup
    }

    /// Returns the indices of the patterns that could match `name`, in order.
    pub(super) fn candidates(&self, name: &str) -> &[usize] {
        if self.beginning.is_empty() {
            return &self.open;
        }
        self.beginning.get(first_segment(name)).unwrap_or(&self.open)
    }
}

fn first_segment(name: &str) -> &str {
    name.split(['.', ':']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_keep_the_order_of_the_list() {
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
