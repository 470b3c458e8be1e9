//! Segments as numbers: a publish hashes each segment once, and then compares small integers and bits.

use ahash::AHashMap;

use smallvec::SmallVec;

use crate::{
    Channel, Pattern,
    memory::give_back,
    segments::{Segment, Wildcard, segments},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentNumber(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternStep {
    Literal(SegmentNumber),
    Wildcard(Wildcard),
}

/// A pattern's segments. Longer ones are on the heap during a look-up.
pub(super) type PatternSteps = SmallVec<[PatternStep; 8]>;

/// The literals of all patterns of a trie, numbered.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: AHashMap<Box<str>, Known>,
    /// Released numbers. Numbers from `known.len() + free.len()` on were never used.
    free: Vec<SegmentNumber>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    token: SegmentNumber,
    uses: u32,
}

impl Tokens {
    /// Returns the segments of `pattern`, if each of its literals is known.
    pub(super) fn steps(&self, pattern: &Pattern) -> Option<PatternSteps> {
        let step = |segment: Segment<'_>| match segment.wildcard() {
            Some(wildcard) => Some(PatternStep::Wildcard(wildcard)),
            None => self.get(segment).map(PatternStep::Literal),
        };
        segments(pattern.as_str()).map(step).collect()
    }

    /// Returns the segments of the new `pattern`. Its literals stay known until it is released.
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
        if self.known.is_empty() {
            self.free = Vec::new();
        }
    }

    pub(super) fn get(&self, segment: Segment<'_>) -> Option<SegmentNumber> {
        self.known.get(segment.as_str()).map(|known| known.token)
    }

    fn acquire_one(&mut self, segment: Segment<'_>) -> SegmentNumber {
        if let Some(known) = self.known.get_mut(segment.as_str()) {
            known.uses += 1;
            return known.token;
        }
        let unused = self.free.pop();
        let token = unused.unwrap_or_else(|| {
            SegmentNumber(u32::try_from(self.known.len()).expect("memory ends before four billion segments"))
        });
        let known = Known { token, uses: 1 };
        self.known.insert(segment.as_str().into(), known);
        token
    }

    fn release_one(&mut self, segment: Segment<'_>) {
        let Some(known) = self.known.get_mut(segment.as_str()) else {
            return;
        };
        known.uses -= 1;
        if known.uses == 0 {
            self.free.push(known.token);
            self.known.remove(segment.as_str());
            give_back(&mut self.known);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.free.capacity() == 0
    }
}

/// A channel as a search sees it. In a set of positions, bit *n* means "after *n* segments".
pub(super) struct Path {
    /// Each different segment that is a literal of some pattern, with the positions before it.
    literals: SmallVec<[(SegmentNumber, u64); 8]>,
    /// The positions before a segment with a `.`, the first segment included; and those before one with a `:`.
    separators: [u64; 2],
    /// The position after the last segment.
    end: u64,
}

impl Path {
    /// The position where every search begins.
    pub(super) const START: u64 = 1;

    /// Splits `channel` into segments.
    pub(super) fn new(channel: &Channel, tokens: &Tokens) -> Self {
        let mut path = Self {
            literals: SmallVec::new(),
            separators: [0; 2],
            end: Self::START,
        };
        for segment in segments(channel) {
            path.push(tokens.get(segment), segment.after_colon());
        }
        path
    }

    fn push(&mut self, token: Option<SegmentNumber>, after_colon: bool) {
        let place = self.end;
        self.end <<= 1;
        self.separators[usize::from(after_colon)] |= place;
        if let Some(token) = token {
            match self.literals.iter_mut().find(|(other, _)| *other == token) {
                Some((_, places)) => *places |= place,
                None => self.literals.push((token, place)),
            }
        }
    }

    /// Returns whether one of the positions `reached` is the end of the channel.
    pub(super) fn is_whole(&self, reached: u64) -> bool {
        reached & self.end != 0
    }

    /// Returns the positions after `step`, from the positions `reached`.
    pub(super) fn after(&self, reached: u64, step: PatternStep) -> u64 {
        match step {
            PatternStep::Wildcard(wildcard) => self.after_wildcard(reached, wildcard),
            PatternStep::Literal(token) => {
                let place = self.literals.iter().find(|(other, _)| *other == token);
                place.map_or(0, |(_, places)| (reached & places) << 1)
            }
        }
    }

    /// Returns each literal that follows one of the positions `reached`, once, with the positions after it.
    pub(super) fn literals(&self, reached: u64) -> impl Iterator<Item = (SegmentNumber, u64)> {
        let after = move |(token, places): &(SegmentNumber, u64)| (*token, (reached & places) << 1);
        let all = self.literals.iter().map(after);
        all.filter(|(_, reached)| *reached != 0)
    }

    pub(super) fn after_wildcard(&self, reached: u64, wildcard: Wildcard) -> u64 {
        let next = (reached & self.separators[usize::from(wildcard.after_colon())]) << 1;
        if wildcard.is_deep() {
            // The lowest bit of a number and all bits above it: the number or its negative.
            (next | next.wrapping_neg()) & (self.end | (self.end - 1))
        } else {
            next
        }
    }
}
