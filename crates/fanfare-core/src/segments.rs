//! Names taken apart: the one place that knows what separates segments, for patterns and channels alike.

/// One segment of a name or pattern, with the separator that stands before it.
///
/// The separator stays with the segment because it counts: `.b` and `:b` are two different ways on from `a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment<'a>(&'a str);

/// A segment of a pattern that is a wildcard, with the separator that must stand before what it matches.
///
/// The first segment of a name counts as if a `.` stood before it; nothing else can be first, so nothing is confused.
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
    /// Every wildcard, each at its own number.
    pub(crate) const ALL: [Self; 4] = [Self::Dot, Self::Colon, Self::DeepDot, Self::DeepColon];

    /// Whether it may go on over further segments.
    pub(crate) fn is_deep(self) -> bool {
        matches!(self, Self::DeepDot | Self::DeepColon)
    }

    /// Whether a `:` must stand before what it matches.
    pub(crate) fn after_colon(self) -> bool {
        matches!(self, Self::Colon | Self::DeepColon)
    }
}

impl<'a> Segment<'a> {
    /// The segment with its separator.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether a `:` stands before it.
    pub(crate) fn after_colon(self) -> bool {
        self.0.starts_with(':')
    }

    /// Which wildcard it is, where it is one.
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

/// The segments of a name, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Segments<'a>(&'a str);

/// Takes `name` apart.
pub(crate) fn segments(name: &str) -> Segments<'_> {
    Segments(name)
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        // The first byte is a separator or belongs to the name's first segment; either way it ends nothing.
        let behind = self.0.as_bytes().get(1..)?;
        let end = behind.iter().position(|byte| matches!(byte, b'.' | b':'));
        let (segment, rest) = self.0.split_at(end.map_or(self.0.len(), |at| at + 1));
        self.0 = rest;
        Some(Segment(segment))
    }
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
