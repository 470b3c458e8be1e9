//! Splits names into segments, for patterns and channels alike. Only this file knows the separators.

/// The wildcard for one or more segments.
pub(crate) const MANY: &str = "**";
/// The wildcard for one segment.
pub(crate) const ONE: &str = "*";

/// One segment of a name or pattern, with the separator before it: `.b` and `:b` after `a` are two different segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment<'a>(&'a str);

/// A wildcard segment, with the separator that must precede its match. The first segment counts as after a `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wildcard {
    /// `*` after a `.`
    Dot,
    /// `*` after a `:`
    Colon,
    /// `**` after a `.`
    DeepDot,
    /// `**` after a `:`
    DeepColon,
}

impl Wildcard {
    pub(crate) const ALL: [Self; 4] = [Self::Dot, Self::Colon, Self::DeepDot, Self::DeepColon];

    pub(crate) fn is_deep(self) -> bool {
        matches!(self, Self::DeepDot | Self::DeepColon)
    }

    pub(crate) fn after_colon(self) -> bool {
        matches!(self, Self::Colon | Self::DeepColon)
    }
}

impl<'a> Segment<'a> {
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    pub(crate) fn after_colon(self) -> bool {
        self.0.starts_with(':')
    }

    fn text(self) -> &'a str {
        self.0.strip_prefix(['.', ':']).unwrap_or(self.0)
    }

    pub(crate) fn wildcard(self) -> Option<Wildcard> {
        match self.0 {
            "*" | ".*" => Some(Wildcard::Dot),
            ":*" => Some(Wildcard::Colon),
            "**" | ".**" => Some(Wildcard::DeepDot),
            ":**" => Some(Wildcard::DeepColon),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Segments<'a>(&'a str);

pub(crate) fn segments(name: &str) -> Segments<'_> {
    Segments(name)
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        // The first byte is a separator or belongs to the first segment; in neither case does it end a segment.
        let behind = self.0.as_bytes().get(1..)?;
        let end = behind.iter().position(|byte| matches!(byte, b'.' | b':'));
        let (segment, rest) = self.0.split_at(end.map_or(self.0.len(), |at| at + 1));
        self.0 = rest;
        Some(Segment(segment))
    }
}

/// Returns whether `pattern` matches `name`; `same` decides whether a segment of the pattern that is not `**` matches.
/// It backtracks to the last `**` at a mismatch, which can match whatever an earlier one would have matched in
/// addition: that costs at most the product of the two numbers of segments, and no memory.
pub(crate) fn walk(pattern: &str, name: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let mut parts = segments(pattern);
    let mut left = segments(name);
    // The positions after the last `**` and after its match so far.
    let mut retry = None;
    while let Some(segment) = left.next() {
        match parts.next() {
            Some(part) if stands_for(part, segment, &same) => {
                if part.text() == MANY {
                    retry = Some((parts.clone(), left.clone()));
                }
            }
            _ => {
                let Some((after_many, after_taken)) = &mut retry else {
                    return false;
                };
                after_taken.next();
                parts = after_many.clone();
                left = after_taken.clone();
            }
        }
    }
    parts.next().is_none()
}

fn stands_for(part: Segment<'_>, segment: Segment<'_>, same: impl Fn(&str, &str) -> bool) -> bool {
    part.after_colon() == segment.after_colon() && (part.text() == MANY || same(part.text(), segment.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_taken_apart() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a", &["a"]),
            ("chat.general:7", &["chat", ".general", ":7"]),
            ("é.世:🎺", &["é", ".世", ":🎺"]),
            ("a..b:", &["a", ".", ".b", ":"]),
        ];
        for (name, expected) in cases {
            let found: Vec<_> = segments(name).map(Segment::as_str).collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn wildcards_stand_at_their_numbers() {
        for (number, wildcard) in Wildcard::ALL.into_iter().enumerate() {
            assert_eq!(wildcard as usize, number);
        }
        let found: Vec<_> = segments("*.**:*:**.*.a").map(Segment::wildcard).collect();
        let [dot, colon, deep_dot, deep_colon] = Wildcard::ALL.map(Some);
        assert_eq!(found, [dot, deep_dot, colon, deep_colon, dot, None]);
    }
}
