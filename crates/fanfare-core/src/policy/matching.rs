//! Matches a rule's pattern, in which `{user}` may stand for a user's id, against a channel.

use crate::segments::{MANY, ONE, walk};

/// The segments that `{user}` in a pattern matches.
#[derive(Clone, Copy)]
pub(super) enum Placeholder<'a> {
    Anyone,
    Only(&'a str),
}

pub(super) const USER: &str = "{user}";

/// Returns whether `pattern` matches the channel `name`.
pub(super) fn matches(pattern: &str, name: &str, user: Placeholder<'_>) -> bool {
    walk(pattern, name, |part, segment| match part {
        ONE => true,
        USER => match user {
            Placeholder::Anyone => true,
            Placeholder::Only(id) => segment == id,
        },
        literal => literal == segment,
    })
}

/// Returns whether `pattern` matches all that the pattern `other` matches, as far as a comparison by segments can show.
pub(super) fn covers(pattern: &str, other: &str) -> bool {
    walk(pattern, other, |part, segment| match part {
        ONE | USER => segment != MANY,
        literal => literal == segment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    /// Matches a pattern without a placeholder, by another implementation.
    fn plain(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").matches(name)
    }

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
            assert_eq!(plain(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn many_wildcards_take_no_time() {
        let pattern = ["**"; 16].join(".") + ".z";
        let name = ["a"; 32].join(".");
        assert!(!plain(&pattern, &name));
    }

    #[test]
    fn the_user() {
        let cases = [
            ("inbox.{user}", "inbox.7", Some(Placeholder::Anyone), true),
            ("inbox.{user}", "inbox.7", Some(Placeholder::Only("7")), true),
            ("inbox.{user}", "inbox.7", Some(Placeholder::Only("8")), false),
            ("inbox.{user}", "inbox.7", None, false),
            ("inbox.{user}", "inbox.{user}", None, true),
            ("inbox.{user}", "inbox.a.b", Some(Placeholder::Anyone), false),
            ("inbox.{user}", "inbox.a.b", Some(Placeholder::Only("a.b")), false),
            ("{user}.to.{user}", "7.to.7", Some(Placeholder::Only("7")), true),
            ("{user}.to.{user}", "7.to.8", Some(Placeholder::Only("7")), false),
            ("**.{user}.**", "a.b.7.c", Some(Placeholder::Only("7")), true),
            ("**.{user}.**", "7.b.c", Some(Placeholder::Only("7")), false),
        ];
        for (pattern, name, user, expected) in cases {
            let found = user.map_or_else(|| plain(pattern, name), |user| matches(pattern, name, user));
            assert_eq!(found, expected, "{pattern} {name}");
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
