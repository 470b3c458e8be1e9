//! Matches the pattern of a rule with a channel. The segment `{user}` in it is a user's id.

use crate::segments::{MANY, ONE, walk};

pub(super) const USER: &str = "{user}";

/// Returns `true` if `pattern` matches the channel `name`, with `user` as the id at `{user}`; `None` is any id.
pub(super) fn matches(pattern: &str, name: &str, user: Option<&str>) -> bool {
    walk(pattern, name, |part, segment| match part {
        ONE => true,
        USER => user.is_none_or(|id| segment == id),
        literal => literal == segment,
    })
}

/// Returns `true` if `pattern` matches all channels of the pattern `other`, as far as a comparison by segments shows.
pub(super) fn covers(pattern: &str, other: &str) -> bool {
    walk(pattern, other, |part, segment| match part {
        ONE | USER => segment != MANY,
        literal => literal == segment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_matches_the_id_of_the_user() {
        let cases = [
            ("inbox.{user}", "inbox.7", None, true),
            ("inbox.{user}", "inbox.7", Some("7"), true),
            ("inbox.{user}", "inbox.7", Some("8"), false),
            ("inbox.{user}", "inbox.a.b", None, false),
            ("inbox.{user}", "inbox.a.b", Some("a.b"), false),
            ("{user}.to.{user}", "7.to.7", Some("7"), true),
            ("{user}.to.{user}", "7.to.8", Some("7"), false),
            ("**.{user}.**", "a.b.7.c", Some("7"), true),
            ("**.{user}.**", "7.b.c", Some("7"), false),
        ];
        for (pattern, name, user, expected) in cases {
            assert_eq!(matches(pattern, name, user), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_another_that_matches_fewer_channels() {
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
