//! Whether a pattern matches a channel. It walks both texts side by side, goes back to the last `**` where they part,
//! and so takes no memory and no more steps than one length times the other.

/// What `{user}` in a pattern stands for.
#[derive(Clone, Copy)]
pub(super) enum Placeholder<'a> {
    /// Itself: the pattern knows no placeholders.
    Text,
    /// Any one segment.
    Anyone,
    /// A segment that is this id.
    Only(&'a str),
}

/// The placeholder for an identity's id.
pub(super) const USER: &str = "{user}";
/// The wildcard for one or more segments.
pub(super) const MANY: &str = "**";
/// The wildcard for one segment.
pub(super) const ONE: &str = "*";

/// Whether `pattern` matches the channel `name`.
pub(super) fn matches(pattern: &str, name: &str, user: Placeholder<'_>) -> bool {
    walk(pattern, name, |part, segment| match part {
        ONE => true,
        USER => match user {
            Placeholder::Text => segment == USER,
            Placeholder::Anyone => true,
            Placeholder::Only(id) => segment == id,
        },
        literal => literal == segment,
    })
}

/// Whether `pattern` matches every channel that the pattern `other` matches, as far as can be told segment by segment.
pub(super) fn covers(pattern: &str, other: &str) -> bool {
    walk(pattern, other, |part, segment| match part {
        ONE | USER => segment != MANY,
        literal => literal == segment,
    })
}

fn walk(pattern: &str, name: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let (mut parts, mut segments) = (Segments::new(pattern), Segments::new(name));
    // Where to go on when the rest does not fit: after the last `**`, and with the first segment not given to it yet.
    let mut retry: Option<(Segments<'_>, Segments<'_>)> = None;
    loop {
        let (part, segment) = (parts.next(), segments.next());
        let fits = match (part, segment) {
            (None, None) => return true,
            (Some((before, part)), Some((after, segment))) => {
                let fits = before == after && (part == MANY || same(part, segment));
                if fits && part == MANY {
                    retry = Some((parts, segments));
                }
                fits
            }
            _ => false,
        };
        if !fits {
            let Some((after_many, mut left)) = retry else {
                return false;
            };
            if left.next().is_none() {
                return false;
            }
            retry = Some((after_many, left));
            (parts, segments) = (after_many, left);
        }
    }
}

/// The segments of a name, each with the separator before it, which the first has none of.
#[derive(Clone, Copy)]
struct Segments<'a> {
    separator: u8,
    rest: Option<&'a str>,
}

impl<'a> Segments<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            separator: 0,
            rest: Some(name),
        }
    }

    fn next(&mut self) -> Option<(u8, &'a str)> {
        let rest = self.rest.take()?;
        let separator = self.separator;
        let Some(end) = rest.find(['.', ':']) else {
            return Some((separator, rest));
        };
        self.separator = rest.as_bytes()[end];
        self.rest = Some(&rest[end + 1..]);
        Some((separator, &rest[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_names() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a:b", false),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a:b", false),
            ("a.*", "a", false),
            ("*.b", "a.b", true),
            ("*:*", "a.b", false),
            ("**", "a", true),
            ("**", "a.b:c", true),
            ("a.**", "a", false),
            ("a.**", "a.b", true),
            ("a.**", "a.b:c.d", true),
            ("a.**", "a:b", false),
            ("**.z", "a:b.z", true),
            ("**.z", "a.b:z", false),
            ("**.z", "z", false),
            ("a.**.z", "a.z", false),
            ("a.**.z", "a.z.z", true),
            ("a.**.z", "a.z.y.z.z", true),
            ("a.**.z", "a.z.y", false),
            ("**.b.**", "a.b.c", true),
            ("**.b.**", "b.b.b", true),
            ("**.b.**", "a.b", false),
            ("**.**", "a", false),
            ("**.**", "a.b", true),
            ("**.b.*.d", "a.b.x.b.y.d", true),
            ("**.b.*.d", "a.b.x.b.y.z", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                matches(pattern, name, Placeholder::Text),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_wildcards_take_no_time() {
        let pattern = ["**"; 16].join(".") + ".z";
        let name = ["a"; 32].join(".");
        assert!(!matches(&pattern, &name, Placeholder::Text));
    }

    #[test]
    fn the_user() {
        let cases = [
            ("inbox.{user}", "inbox.7", Placeholder::Anyone, true),
            ("inbox.{user}", "inbox.7", Placeholder::Only("7"), true),
            ("inbox.{user}", "inbox.7", Placeholder::Only("8"), false),
            ("inbox.{user}", "inbox.7", Placeholder::Text, false),
            ("inbox.{user}", "inbox.{user}", Placeholder::Text, true),
            ("inbox.{user}", "inbox.a.b", Placeholder::Anyone, false),
            ("inbox.{user}", "inbox.a.b", Placeholder::Only("a.b"), false),
            ("{user}.to.{user}", "7.to.7", Placeholder::Only("7"), true),
            ("{user}.to.{user}", "7.to.8", Placeholder::Only("7"), false),
            ("**.{user}.**", "a.b.7.c", Placeholder::Only("7"), true),
            ("**.{user}.**", "7.b.c", Placeholder::Only("7"), false),
        ];
        for (pattern, name, user, expected) in cases {
            assert_eq!(matches(pattern, name, user), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_leaves_another_nothing() {
        let cases = [
            ("**", "a.{user}.*", true),
            ("a.*", "a.{user}", true),
            ("a.{user}", "a.*", true),
            ("a.**", "a.b.**", true),
            ("a.*", "a.**", false),
            ("a.b", "a.*", false),
            ("a.**", "**", false),
            ("a.b", "a.b", true),
            ("a.*", "a:*", false),
        ];
        for (pattern, other, expected) in cases {
            assert_eq!(covers(pattern, other), expected, "{pattern} {other}");
        }
    }
}
