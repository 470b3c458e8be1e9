//! Splits patterns and channels' names into segments.

/// The wildcard that matches one or more segments.
pub(crate) const MANY: &str = "**";
/// The wildcard that matches one segment.
pub(crate) const ONE: &str = "*";

/// A segment of a name or pattern, with the separator before it: `.b` and `:b` are two different segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment<'a>(&'a str);

/// A wildcard segment, with the separator before it. The first segment counts as after a `.`.
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
        // The first byte is the separator, or belongs to the first segment. It never ends a segment.
        let behind = self.0.as_bytes().get(1..)?;
        let end = behind.iter().position(|byte| matches!(byte, b'.' | b':'));
        let (segment, rest) = self.0.split_at(end.map_or(self.0.len(), |at| at + 1));
        self.0 = rest;
        Some(Segment(segment))
    }
}

/// Returns `true` if `pattern` matches `name`. `same` compares a segment of the pattern other than `**` with one of the
/// name. After a mismatch, the last `**` matches one segment more; earlier ones need not. So the cost is at most the
/// product of the two numbers of segments.
pub(crate) fn walk(pattern: &str, name: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let mut parts = segments(pattern);
    let mut rest = segments(name);
    // The positions after the last `**`, and after its match so far.
    let mut retry = None;
    while let Some(segment) = rest.next() {
        match parts.next() {
            Some(part) if matches_segment(part, segment, &same) => {
                if part.text() == MANY {
                    retry = Some((parts.clone(), rest.clone()));
                }
            }
            _ => {
                let Some((after_many, after_match)) = &mut retry else {
                    return false;
                };
                after_match.next();
                parts = after_many.clone();
                rest = after_match.clone();
            }
        }
    }
    parts.next().is_none()
}

fn matches_segment(part: Segment<'_>, segment: Segment<'_>, same: impl Fn(&str, &str) -> bool) -> bool {
    part.after_colon() == segment.after_colon() && (part.text() == MANY || same(part.text(), segment.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_before_their_separators() {
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
    fn wildcards_are_in_the_order_of_their_numbers() {
        for (number, wildcard) in Wildcard::ALL.into_iter().enumerate() {
            assert_eq!(wildcard as usize, number);
        }
        let found: Vec<_> = segments("*.**:*:**.*.a").map(Segment::wildcard).collect();
        let [dot, colon, deep_dot, deep_colon] = Wildcard::ALL.map(Some);
        assert_eq!(found, [dot, deep_dot, colon, deep_colon, dot, None]);
    }
}
