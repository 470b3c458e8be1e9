//! The nodes of a trie of patterns: a pattern ends at each, or two patterns differ after it.

use std::{collections::HashMap, mem};

use rustc_hash::FxBuildHasher;
use smart_default::SmartDefault;

use super::segment_numbers::{Path, PatternStep, SegmentNumber};
use crate::{memory::shrink_if_sparse, segments::Wildcard};

/// A node, with the segments that all patterns below it share. A trie has at most twice as many nodes as patterns.
#[derive(Debug, SmartDefault)]
pub(super) struct Node<V> {
    prefix: Box<[PatternStep]>,
    value: Option<V>,
    branches: Option<Box<Branches<V>>>,
}

#[derive(Debug, SmartDefault)]
struct Branches<V> {
    // A plain hash suffices: this crate assigns the numbers, so no client can make them collide.
    literals: HashMap<SegmentNumber, Node<V>, FxBuildHasher>,
    /// The branches by the wildcard's number.
    #[default([const { None }; _])]
    wildcards: [Option<Box<Node<V>>>; Wildcard::ALL.len()],
}

impl<V> Node<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none() && self.branches.is_none()
    }

    pub(super) fn get_mut(&mut self, steps: &[PatternStep]) -> Option<&mut V> {
        match steps.strip_prefix(&*self.prefix)?.split_first() {
            None => self.value.as_mut(),
            Some((step, rest)) => self.branches.as_mut()?.get_mut(*step)?.get_mut(rest),
        }
    }

    pub(super) fn get_or_insert_with(&mut self, steps: &[PatternStep], new: impl FnOnce() -> V) -> &mut V {
        let both = self.prefix.iter().zip(steps);
        let common = both.take_while(|(own, other)| own == other).count();
        if common < self.prefix.len() {
            self.split(common);
        }
        match steps[common..].split_first() {
            None => self.value.get_or_insert_with(new),
            Some((step, rest)) => {
                let branches = self.branches.get_or_insert_default();
                branches.get_or_insert(*step, rest).get_or_insert_with(rest, new)
            }
        }
    }

    /// Splits this node after the first `common` segments of its prefix.
    fn split(&mut self, common: usize) {
        let below = mem::take(self);
        self.prefix = below.prefix[..common].into();
        let (step, rest) = (below.prefix[common], &below.prefix[common + 1..]);
        let branch = self.branches.get_or_insert_default().get_or_insert(step, rest);
        branch.value = below.value;
        branch.branches = below.branches;
    }

    /// Removes the value at the end of `steps`, and the nodes before it that are no longer necessary.
    pub(super) fn remove(&mut self, steps: &[PatternStep]) -> Option<V> {
        let Some((step, rest)) = steps.strip_prefix(&*self.prefix)?.split_first() else {
            return self.value.take();
        };
        let branches = self.branches.as_mut()?;
        let branch = branches.get_mut(*step)?;
        let value = branch.remove(rest)?;
        if !branch.is_empty() {
            branch.join();
        } else if branches.remove(*step).is_empty() {
            self.branches = None;
        }
        Some(value)
    }

    /// Merges the branch into this node, if it is the only one and no pattern ends here.
    fn join(&mut self) {
        if self.value.is_some() {
            return;
        }
        let Some((step, below)) = self.branches.as_mut().and_then(|branches| branches.take_only()) else {
            return;
        };
        let prefix = self.prefix.iter().chain([&step]).chain(&below.prefix);
        self.prefix = prefix.copied().collect();
        self.value = below.value;
        self.branches = below.branches;
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        let branches = self.branches.iter().flat_map(|branches| {
            let wildcards = branches.wildcards.iter().flatten().map(|node| &**node);
            branches.literals.values().chain(wildcards)
        });
        1 + branches.map(Self::nodes).sum::<usize>()
    }

    /// Returns `true` if a channel with the first segment `first` may match; `None` is a segment of no pattern.
    pub(super) fn may_match(&self, first: Option<SegmentNumber>) -> bool {
        self.branches.as_ref().is_some_and(|branches| {
            branches.wildcards.iter().any(Option::is_some)
                || first.is_some_and(|number| branches.literals.contains_key(&number))
        })
    }

    /// Calls `found` for each matching pattern below this node. `reached` is the set of positions in the channel at
    /// which the search reaches this node.
    pub(super) fn search<'a>(&'a self, mut reached: u64, path: &Path, found: &mut impl FnMut(&'a V)) {
        for step in &self.prefix {
            reached = path.after(reached, *step);
            if reached == 0 {
                return;
            }
        }
        if let Some(value) = &self.value
            && path.is_end(reached)
        {
            found(value);
        }
        if let Some(branches) = &self.branches {
            branches.search(reached, path, found);
        }
    }
}

impl<V> Branches<V> {
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.wildcards.iter().all(Option::is_none)
    }

    fn get_mut(&mut self, step: PatternStep) -> Option<&mut Node<V>> {
        match step {
            PatternStep::Literal(number) => self.literals.get_mut(&number),
            PatternStep::Wildcard(wildcard) => self.wildcards[wildcard as usize].as_deref_mut(),
        }
    }

    /// Returns the branch by `step`; inserts one with `prefix` if there is none.
    fn get_or_insert(&mut self, step: PatternStep, prefix: &[PatternStep]) -> &mut Node<V> {
        let new = || Node {
            prefix: prefix.into(),
            ..Node::default()
        };
        match step {
            PatternStep::Literal(number) => self.literals.entry(number).or_insert_with(new),
            PatternStep::Wildcard(wildcard) => {
                self.wildcards[wildcard as usize].get_or_insert_with(|| Box::new(new()))
            }
        }
    }

    /// Removes the branch by `step`, and returns the rest.
    fn remove(&mut self, step: PatternStep) -> &Self {
        match step {
            PatternStep::Literal(number) => {
                self.literals.remove(&number);
                shrink_if_sparse(&mut self.literals);
            }
            PatternStep::Wildcard(wildcard) => self.wildcards[wildcard as usize] = None,
        }
        self
    }

    /// Removes and returns the branch, if there is exactly one.
    fn take_only(&mut self) -> Option<(PatternStep, Node<V>)> {
        let wildcards = self.wildcards.iter().flatten().count();
        if self.literals.len() + wildcards != 1 {
            return None;
        }
        if let Some((number, node)) = self.literals.drain().next() {
            return Some((PatternStep::Literal(number), node));
        }
        let mut wildcards = Wildcard::ALL.into_iter().zip(&mut self.wildcards);
        wildcards.find_map(|(wildcard, slot)| Some((PatternStep::Wildcard(wildcard), *slot.take()?)))
    }

    fn search<'a>(&'a self, reached: u64, path: &Path, found: &mut impl FnMut(&'a V)) {
        if !self.literals.is_empty() {
            for (number, reached) in path.literals(reached) {
                if let Some(branch) = self.literals.get(&number) {
                    branch.search(reached, path, found);
                }
            }
        }
        for (wildcard, branch) in Wildcard::ALL.into_iter().zip(&self.wildcards) {
            if let Some(branch) = branch {
                let reached = path.after_wildcard(reached, wildcard);
                if reached != 0 {
                    branch.search(reached, path, found);
                }
            }
        }
    }
}
