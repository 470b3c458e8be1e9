//! Segments as numbers: a text is hashed once per publish, and what follows compares small integers and bits.

use ahash::AHashMap;

use smallvec::SmallVec;

use crate::{
    Channel, Pattern,
    memory::give_back,
    segments::{Segment, Wildcard, segments},
};

/// The number of a segment (with its separator) that some pattern has as a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token(u32);

/// One segment of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Literal(Token),
    Wildcard(Wildcard),
}

/// A pattern's segments. Few have more, and those are on the heap while they are looked at.
pub(super) type Steps = SmallVec<[Step; 8]>;

/// The literals of all patterns of a trie, numbered.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: AHashMap<Box<str>, Known>,
    /// Numbers that were given back. Those never given out are the ones from `known.len() + free.len()` on.
    free: Vec<Token>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    token: Token,
    uses: u32,
}

impl Tokens {
    /// The segments of `pattern`, where some pattern has each of its literals.
    pub(super) fn steps(&self, pattern: &Pattern) -> Option<Steps> {
        let step = |segment: Segment<'_>| match segment.wildcard() {
            Some(wildcard) => Some(Step::Wildcard(wildcard)),
            None => self.get(segment).map(Step::Literal),
        };
        segments(pattern.as_str()).map(step).collect()
    }

    /// The segments of `pattern`, which is new. Its literals stay known until it is released.
    pub(super) fn acquire(&mut self, pattern: &Pattern) -> Steps {
        let step = |segment: Segment<'_>| match segment.wildcard() {
            Some(wildcard) => Step::Wildcard(wildcard),
            None => Step::Literal(self.acquire_one(segment)),
        };
        segments(pattern.as_str()).map(step).collect()
    }

    /// `pattern` is no more.
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

    /// The number of `segment`, where a pattern has it.
    pub(super) fn get(&self, segment: Segment<'_>) -> Option<Token> {
        self.known.get(segment.as_str()).map(|known| known.token)
    }

    fn acquire_one(&mut self, segment: Segment<'_>) -> Token {
        if let Some(known) = self.known.get_mut(segment.as_str()) {
            known.uses += 1;
            return known.token;
        }
        let unused = self.free.pop();
        let token = unused.unwrap_or_else(|| {
            Token(u32::try_from(self.known.len()).expect("memory ends before four billion segments"))
        });
        self.known
            .insert(segment.as_str().into(), Known { token, uses: 1 });
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

    /// Whether nothing is held for any pattern.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.free.capacity() == 0
    }
}

/// A channel as a search sees it. In a set of places, bit *n* stands for "*n* segments are behind".
pub(super) struct Path {
    /// Each different segment that some pattern has as a literal, with the places before it.
    literals: SmallVec<[(Token, u64); 8]>,
    /// The places before a segment that has a `.`, the very first included.
    dots: u64,
    /// The places before a segment that has a `:`.
    colons: u64,
    /// The place behind everything.
    end: u64,
}

impl Path {
    /// Where every search begins.
    pub(super) const START: u64 = 1;

    /// Takes `channel` apart.
    pub(super) fn new(channel: &Channel, tokens: &Tokens) -> Self {
        let mut path = Self {
            literals: SmallVec::new(),
            dots: 0,
            colons: 0,
            end: Self::START,
        };
        for segment in segments(channel) {
            path.push(tokens.get(segment), segment.after_colon());
        }
        path
    }

    fn push(&mut self, token: Option<Token>, after_colon: bool) {
        let place = self.end;
        self.end <<= 1;
        *(if after_colon {
            &mut self.colons
        } else {
            &mut self.dots
        }) |= place;
        if let Some(token) = token {
            match self.literals.iter_mut().find(|(other, _)| *other == token) {
                Some((_, places)) => *places |= place,
                None => self.literals.push((token, place)),
            }
        }
    }

    /// Whether the channel is all behind at one of the places `reached`.
    pub(super) fn is_whole(&self, reached: u64) -> bool {
        reached & self.end != 0
    }

    /// Where one is after what `step` stands for, having been at the places `reached`.
    pub(super) fn after(&self, reached: u64, step: Step) -> u64 {
        match step {
            Step::Wildcard(wildcard) => self.after_wildcard(reached, wildcard),
            Step::Literal(token) => {
                let place = self.literals.iter().find(|(other, _)| *other == token);
                place.map_or(0, |(_, places)| (reached & places) << 1)
            }
        }
    }

    /// Each literal that follows at some of the places `reached`, once, and where one is after it.
    pub(super) fn literals(&self, reached: u64) -> impl Iterator<Item = (Token, u64)> {
        let after = move |(token, places): &(Token, u64)| (*token, (reached & places) << 1);
        self.literals
            .iter()
            .map(after)
            .filter(|(_, reached)| *reached != 0)
    }

    pub(super) fn after_wildcard(&self, reached: u64, wildcard: Wildcard) -> u64 {
        let fitting = if wildcard.after_colon() {
            self.colons
        } else {
            self.dots
        };
        let next = (reached & fitting) << 1;
        if wildcard.is_deep() {
            // A number's lowest bit and all above it: the number or its negative.
            (next | next.wrapping_neg()) & (self.end | (self.end - 1))
        } else {
            next
        }
    }
}
