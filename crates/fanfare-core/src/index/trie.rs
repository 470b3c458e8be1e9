//! A radix tree of patterns, searched for one channel at once.

use smart_default::SmartDefault;

use super::{
    node::Node,
    segment_numbers::{Path, SegmentNumbers},
};
use crate::{Channel, Pattern, segments::segments};

/// A map from patterns to values, which finds the values of all patterns that match a channel. A search has *all*
/// positions of the channel at which it reaches a node, as one bit each, so it visits a node at most once.
#[derive(Debug, SmartDefault)]
pub(super) struct PatternTrie<V> {
    root: Node<V>,
    numbers: SegmentNumbers,
    patterns: usize,
}

impl<V> PatternTrie<V> {
    pub(super) fn len(&self) -> usize {
        self.patterns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns == 0
    }

    /// Returns the value of exactly this pattern.
    pub(super) fn get_mut(&mut self, pattern: &Pattern) -> Option<&mut V> {
        self.root.get_mut(&self.numbers.steps(pattern)?)
    }

    /// Returns the value of exactly this pattern; inserts `new` if there is none.
    pub(super) fn get_or_insert_with(&mut self, pattern: &Pattern, new: impl FnOnce() -> V) -> &mut V {
        let steps = self.numbers.acquire(pattern);
        let mut is_new = false;
        let value = self.root.get_or_insert_with(&steps, || {
            is_new = true;
            new()
        });
        if is_new {
            self.patterns += 1;
        } else {
            self.numbers.release(pattern);
        }
        value
    }

    /// Removes exactly this pattern, frees its memory, and returns its value.
    pub(super) fn remove(&mut self, pattern: &Pattern) -> Option<V> {
        let value = self.root.remove(&self.numbers.steps(pattern)?)?;
        self.numbers.release(pattern);
        self.patterns -= 1;
        Some(value)
    }

    /// Calls `found` once for each pattern that matches `channel`, in any order.
    pub(super) fn matches<'a>(&'a self, channel: &Channel, mut found: impl FnMut(&'a V)) {
        if self.may_match(channel) {
            let path = Path::new(channel, &self.numbers);
            self.root.search(Path::START, &path, &mut found);
        }
    }

    /// Returns `true` if a pattern begins like `channel`. For most events none does.
    fn may_match(&self, channel: &Channel) -> bool {
        let first = segments(channel)
            .next()
            .and_then(|segment| self.numbers.get(segment));
        self.root.may_match(first)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Returns up to `depth` of `words`, mostly separated by dots.
    fn name(random: &mut StdRng, words: &[&str], depth: usize) -> String {
        let mut name = String::new();
        for at in 0..random.random_range(1..=depth) {
            if at > 0 {
                name.push(if random.random_bool(0.2) { ':' } else { '.' });
            }
            name.push_str(words[random.random_range(0..words.len())]);
        }
        name
    }

    fn matching(trie: &PatternTrie<usize>, channel: &Channel) -> Vec<usize> {
        let mut found = Vec::new();
        trie.matches(channel, |value| found.push(*value));
        found.sort_unstable();
        found
    }

    fn assert_empty<V>(trie: &PatternTrie<V>) {
        assert!(trie.is_empty() && trie.root.is_empty() && trie.numbers.is_empty());
    }

    #[test]
    fn patterns_are_inserted_and_removed() {
        let texts = [
            "a", "a.b", "a.b.c", "a.*", "a.**", "a.*.c", "*", "**", "a:*", "a:**",
        ];
        let mut trie = PatternTrie::default();
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(*trie.get_or_insert_with(&pattern(text), || number), number);
            assert_eq!(*trie.get_or_insert_with(&pattern(text), || 99), number);
            assert_eq!(trie.len(), number + 1);
        }
        assert_eq!(trie.get_mut(&pattern("a.b.c")), Some(&mut 2));
        assert_eq!(trie.remove(&pattern("a.c")), None);
        assert_eq!(trie.remove(&pattern("*.a")), None);
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(trie.get_mut(&pattern(text)), Some(&mut { number }), "{text}");
            assert_eq!(trie.remove(&pattern(text)), Some(number), "{text}");
            assert_eq!(trie.remove(&pattern(text)), None, "{text}");
        }
        assert_empty(&trie);
    }

    /// Returns a channel that `pattern` matches, unless it is too deep.
    fn instance(random: &mut StdRng, pattern: &Pattern) -> Option<Channel> {
        let mut channel = String::new();
        for segment in segments(pattern.as_str()) {
            match segment.wildcard() {
                None => channel.push_str(segment.as_str()),
                Some(wildcard) => {
                    if !channel.is_empty() {
                        channel.push(if wildcard.after_colon() { ':' } else { '.' });
                    }
                    let depth = if wildcard.is_deep() { 3 } else { 1 };
                    channel.push_str(&name(random, &["a", "b", "c"], depth));
                }
            }
        }
        Channel::new(&channel).ok()
    }

    #[test]
    fn a_search_finds_each_pattern_that_matches() {
        let random = &mut StdRng::seed_from_u64(0xfa_4f_a7_e5);
        for depth in [3, 3, 4, 5, 6, 8, 16, 32] {
            let mut trie = PatternTrie::default();
            let mut patterns: Vec<Pattern> = Vec::new();
            for _ in 0..400 {
                let new = pattern(&name(random, &["a", "b", "*", "**"], depth));
                trie.get_or_insert_with(&new, || {
                    patterns.push(new.clone());
                    patterns.len() - 1
                });
            }
            // Searches while it is full, and again while patterns are removed.
            let mut matches = 0;
            for removed in 0..patterns.len() {
                let any = Channel::new(&name(random, &["a", "b", "c"], depth)).ok();
                let model = random.random_range(removed..patterns.len());
                let one = instance(random, &patterns[model]);
                for channel in any.iter().chain(&one) {
                    let held = (removed..patterns.len()).filter(|at| patterns[*at].matches(channel));
                    let expected: Vec<_> = held.collect();
                    assert_eq!(matching(&trie, channel), expected, "{channel} in {patterns:?}");
                    matches += expected.len();
                }
                assert_eq!(trie.remove(&patterns[removed]), Some(removed));
                assert!(trie.root.nodes() <= 1 + 2 * trie.len(), "nodes are left over");
            }
            assert_empty(&trie);
            assert!(matches > 1_000, "{matches}: too few to show anything");
        }
    }

    #[test]
    fn a_search_visits_each_node_once() {
        // All paths through these reach the same nodes; a search along each path would not end.
        let mut trie = PatternTrie::default();
        let mixed: Vec<_> = (0..32).map(|at| if at % 3 == 0 { "*" } else { "**" }).collect();
        for depth in 2..=32 {
            trie.get_or_insert_with(&pattern(&mixed[..depth].join(".")), || depth);
            trie.get_or_insert_with(&pattern(&["**"; 32][..depth].join(".")), || 100 + depth);
        }
        let channel = Channel::new(&["a"; 32].join(".")).expect("a name");
        let found = matching(&trie, &channel);
        assert_eq!(found, (2..=32).chain(102..=132).collect::<Vec<_>>());
    }
}
