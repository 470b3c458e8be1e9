//! Numbers the segments of patterns: a search hashes each segment of a channel once, then compares integers and bits.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::{
    Channel, Pattern,
    memory::shrink_if_sparse,
    segments::{Segment, Wildcard, segments},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentNumber(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternStep {
    Literal(SegmentNumber),
    Wildcard(Wildcard),
}

pub(super) type PatternSteps = SmallVec<[PatternStep; 8]>;

/// The numbers of all literal segments of a trie's patterns.
#[derive(Debug, Default)]
pub(super) struct SegmentNumbers {
    literals: AHashMap<Box<str>, Literal>,
    /// The released numbers. Those from `literals.len() + free.len()` on were never used.
    free: Vec<SegmentNumber>,
}

#[derive(Debug, Clone, Copy)]
struct Literal {
    number: SegmentNumber,
    /// The number of patterns' segments with this text.
    uses: u32,
}

impl SegmentNumbers {
    /// Returns the steps of `pattern`; `None` if a literal of it has no number.
    pub(super) fn steps(&self, pattern: &Pattern) -> Option<PatternSteps> {
        let step = |segment: Segment<'_>| match segment.wildcard() {
            Some(wildcard) => Some(PatternStep::Wildcard(wildcard)),
            None => self.get(segment).map(PatternStep::Literal),
        };
        segments(pattern.as_str()).map(step).collect()
    }

    /// Returns the steps of `pattern`. Its literals keep their numbers until [`SegmentNumbers::release`].
    pub(super) fn acquire(&mut self, pattern: &Pattern) -> PatternSteps {
        let step = |segment: Segment<'_>| match segment.wildcard() {
            Some(wildcard) => PatternStep::Wildcard(wildcard),
            None => PatternStep::Literal(self.acquire_one(segment)),
        };
        segments(pattern.as_str()).map(step).collect()
    }

    pub(super) fn release(&mut self, pattern: &Pattern) {
        for segment in segments(pattern.as_str()) {
            if segment.wildcard().is_none() {
                self.release_one(segment);
            }
        }
        if self.literals.is_empty() {
            self.free = Vec::new();
        }
    }

    pub(super) fn get(&self, segment: Segment<'_>) -> Option<SegmentNumber> {
        self.literals.get(segment.as_str()).map(|literal| literal.number)
    }

    fn acquire_one(&mut self, segment: Segment<'_>) -> SegmentNumber {
        if let Some(literal) = self.literals.get_mut(segment.as_str()) {
            literal.uses += 1;
            return literal.number;
        }
        let unused = self.free.pop();
        let number = unused.unwrap_or_else(|| {
            SegmentNumber(
                u32::try_from(self.literals.len()).expect("memory ends before four billion segments"),
            )
        });
        let literal = Literal { number, uses: 1 };
        self.literals.insert(segment.as_str().into(), literal);
        number
    }

    fn release_one(&mut self, segment: Segment<'_>) {
        let Some(literal) = self.literals.get_mut(segment.as_str()) else {
            return;
        };
        literal.uses -= 1;
        if literal.uses == 0 {
            self.free.push(literal.number);
            self.literals.remove(segment.as_str());
            shrink_if_sparse(&mut self.literals);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.free.capacity() == 0
    }
}

/// A channel in the form for a search. In a set of positions, bit *n* is the position after *n* segments.
pub(super) struct Path {
    /// Each different segment that is a literal of a pattern, with the positions before it.
    literals: SmallVec<[(SegmentNumber, u64); 8]>,
    /// The positions before the segments after a `.`, including the first segment, and before those after a `:`.
    separators: [u64; 2],
    /// The position after the last segment.
    end: u64,
}

impl Path {
    /// The position at which each search begins.
    pub(super) const START: u64 = 1;

    /// Splits `channel` into segments.
    pub(super) fn new(channel: &Channel, numbers: &SegmentNumbers) -> Self {
        let mut path = Self {
            literals: SmallVec::new(),
            separators: [0; 2],
            end: Self::START,
        };
        for segment in segments(channel) {
            path.push(numbers.get(segment), segment.after_colon());
        }
        path
    }

    fn push(&mut self, number: Option<SegmentNumber>, after_colon: bool) {
        let position = self.end;
        self.end <<= 1;
        self.separators[usize::from(after_colon)] |= position;
        if let Some(number) = number {
            match self.literals.iter_mut().find(|(other, _)| *other == number) {
                Some((_, positions)) => *positions |= position,
                None => self.literals.push((number, position)),
            }
        }
    }

    /// Returns `true` if the positions `reached` contain the end of the channel.
    pub(super) fn is_end(&self, reached: u64) -> bool {
        reached & self.end != 0
    }

    /// Returns the positions after `step`, from the positions `reached`.
    pub(super) fn after(&self, reached: u64, step: PatternStep) -> u64 {
        match step {
            PatternStep::Wildcard(wildcard) => self.after_wildcard(reached, wildcard),
            PatternStep::Literal(number) => {
                let literal = self.literals.iter().find(|(other, _)| *other == number);
                literal.map_or(0, |(_, positions)| (reached & positions) << 1)
            }
        }
    }

    /// Returns each different literal after one of the positions `reached`, with the positions after it.
    pub(super) fn literals(&self, reached: u64) -> impl Iterator<Item = (SegmentNumber, u64)> {
        let after = move |(number, positions): &(SegmentNumber, u64)| (*number, (reached & positions) << 1);
        let all = self.literals.iter().map(after);
        all.filter(|(_, reached)| *reached != 0)
    }

    pub(super) fn after_wildcard(&self, reached: u64, wildcard: Wildcard) -> u64 {
        let next = (reached & self.separators[usize::from(wildcard.after_colon())]) << 1;
        if wildcard.is_deep() {
            // The bitwise or of a number and its negative has the number's lowest bit and all bits above it.
            (next | next.wrapping_neg()) & (self.end | (self.end - 1))
        } else {
            next
        }
    }
}
