//! The nodes of a trie of patterns: where two patterns part, or one ends.

use std::{collections::HashMap, mem};

use rustc_hash::FxBuildHasher;

use super::tokens::{Path, Step, Token};
use crate::{memory::give_back, segments::Wildcard};

/// A node, with the segments that all patterns below it share. There are at most twice as many nodes as patterns.
#[derive(Debug)]
pub(super) struct Node<V> {
    prefix: Box<[Step]>,
    /// Of the pattern that ends here.
    value: Option<V>,
    /// The ways on; none for most.
    branches: Option<Box<Branches<V>>>,
}

#[derive(Debug)]
struct Branches<V> {
    // Tokens are numbers of our own giving, so nobody outside can make them collide and a plain hash will do.
    literals: HashMap<Token, Node<V>, FxBuildHasher>,
    /// By the wildcard's number.
    wildcards: [Option<Box<Node<V>>>; Wildcard::ALL.len()],
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            prefix: Box::default(),
            value: None,
            branches: None,
        }
    }
}

impl<V> Node<V> {
    /// Whether no pattern ends here or below.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none() && self.branches.is_none()
    }

    /// The value at the end of `steps`.
    pub(super) fn get(&self, steps: &[Step]) -> Option<&V> {
        match steps.strip_prefix(&*self.prefix)?.split_first() {
            None => self.value.as_ref(),
            Some((step, rest)) => self.branches.as_ref()?.get(*step)?.get(rest),
        }
    }

    /// The value at the end of `steps`, to be changed.
    pub(super) fn get_mut(&mut self, steps: &[Step]) -> Option<&mut V> {
        match steps.strip_prefix(&*self.prefix)?.split_first() {
            None => self.value.as_mut(),
            Some((step, rest)) => self.branches.as_mut()?.get_mut(*step)?.get_mut(rest),
        }
    }

    /// The value at the end of `steps`; a `new` one where there was none.
    pub(super) fn get_or_insert_with(&mut self, steps: &[Step], new: impl FnOnce() -> V) -> &mut V {
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

    /// Makes what is here a branch of a node with the first `common` segments of the prefix.
    fn split(&mut self, common: usize) {
        let below = mem::take(self);
        self.prefix = below.prefix[..common].into();
        let (step, rest) = (below.prefix[common], &below.prefix[common + 1..]);
        let branch = self.branches.get_or_insert_default().get_or_insert(step, rest);
        branch.value = below.value;
        branch.branches = below.branches;
    }

    /// Takes the value at the end of `steps`, and on the way back drops or joins the nodes that are not needed any more.
    pub(super) fn remove(&mut self, steps: &[Step]) -> Option<V> {
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

    /// Takes the only branch in, where nothing ends here and nothing parts here any more.
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

    /// How many nodes there are, this one included.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        let branches = self.branches.iter().flat_map(|branches| {
            let wildcards = branches.wildcards.iter().flatten().map(|node| &**node);
            branches.literals.values().chain(wildcards)
        });
        1 + branches.map(Self::nodes).sum::<usize>()
    }

    /// Whether anything may be found for a channel that begins with `first` (`None` for a segment that no pattern has).
    pub(super) fn leads_on(&self, first: Option<Token>) -> bool {
        self.branches.as_ref().is_some_and(|branches| {
            branches.wildcards.iter().any(Option::is_some)
                || first.is_some_and(|token| branches.literals.contains_key(&token))
        })
    }

    /// Calls `found` for every pattern below that matches, where `reached` are the places of the channel at which this
    /// node has been reached.
    pub(super) fn search<'a>(&'a self, mut reached: u64, path: &Path, found: &mut impl FnMut(&'a V)) {
        for step in &self.prefix {
            reached = path.after(reached, *step);
            if reached == 0 {
                return;
            }
        }
        if let Some(value) = &self.value
            && path.is_whole(reached)
        {
            found(value);
        }
        if let Some(branches) = &self.branches {
            branches.search(reached, path, found);
        }
    }
}

impl<V> Default for Branches<V> {
    fn default() -> Self {
        Self {
            literals: HashMap::default(),
            wildcards: [const { None }; _],
        }
    }
}

impl<V> Branches<V> {
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.wildcards.iter().all(Option::is_none)
    }

    fn get(&self, step: Step) -> Option<&Node<V>> {
        match step {
            Step::Literal(token) => self.literals.get(&token),
            Step::Wildcard(wildcard) => self.wildcards[wildcard as usize].as_deref(),
        }
    }

    fn get_mut(&mut self, step: Step) -> Option<&mut Node<V>> {
        match step {
            Step::Literal(token) => self.literals.get_mut(&token),
            Step::Wildcard(wildcard) => self.wildcards[wildcard as usize].as_deref_mut(),
        }
    }

    /// The branch by `step`; a new one with that `prefix` where there was none.
    fn get_or_insert(&mut self, step: Step, prefix: &[Step]) -> &mut Node<V> {
        let new = || Node {
            prefix: prefix.into(),
            ..Node::default()
        };
        match step {
            Step::Literal(token) => self.literals.entry(token).or_insert_with(new),
            Step::Wildcard(wildcard) => {
                self.wildcards[wildcard as usize].get_or_insert_with(|| Box::new(new()))
            }
        }
    }

    /// Drops the branch by `step` and answers what is left.
    fn remove(&mut self, step: Step) -> &Self {
        match step {
            Step::Literal(token) => {
                self.literals.remove(&token);
                give_back(&mut self.literals);
            }
            Step::Wildcard(wildcard) => self.wildcards[wildcard as usize] = None,
        }
        self
    }

    /// Takes the branch out, where there is just one.
    fn take_only(&mut self) -> Option<(Step, Node<V>)> {
        let wildcards = self.wildcards.iter().flatten().count();
        if self.literals.len() + wildcards != 1 {
            return None;
        }
        if let Some((token, node)) = self.literals.drain().next() {
            return Some((Step::Literal(token), node));
        }
        let mut wildcards = Wildcard::ALL.into_iter().zip(&mut self.wildcards);
        wildcards.find_map(|(wildcard, slot)| Some((Step::Wildcard(wildcard), *slot.take()?)))
    }

    fn search<'a>(&'a self, reached: u64, path: &Path, found: &mut impl FnMut(&'a V)) {
        if !self.literals.is_empty() {
            for (token, reached) in path.literals(reached) {
                if let Some(branch) = self.literals.get(&token) {
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
