//! Redis' glob patterns, as `PUBSUB CHANNELS` takes them.

/// Returns whether `text` matches `pattern`: `*` is any run of bytes, `?` any byte, `[a-z]` and `[^a-z]` one of some, `\` escapes.
/// Takes at most `pattern.len() * text.len()` steps.
pub(super) fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // The position to continue at if the pattern behind the last `*` does not match here: the `*` may take one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern, text) {
            ([b'*', behind @ ..], _) => {
                retry = Some((behind, text));
                pattern = behind;
                continue;
            }
            ([], []) => return true,
            (_, []) => return false,
            (pattern, [byte, _tail @ ..]) => one(pattern, *byte),
        };
        if let Some(behind) = step {
            (pattern, text) = (behind, &text[1..]);
            continue;
        }
        match retry {
            Some((behind_star, [_, tail @ ..])) => {
                retry = Some((behind_star, tail));
                (pattern, text) = (behind_star, tail);
            }
            _ => return false,
        }
    }
}

fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', behind @ ..] => Some(behind),
        [b'[', class @ ..] => {
            let (matched, behind) = class_matches(class, byte);
            matched.then_some(behind)
        }
        [b'\\', literal, behind @ ..] | [literal, behind @ ..] => (*literal == byte).then_some(behind),
    }
}

/// Returns whether `byte` is in the class that begins behind `[`, and the pattern behind the class. A class without an end takes the rest of
/// the pattern.
fn class_matches(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [b'\\', literal, behind @ ..] => {
                found |= *literal == byte;
                behind
            }
            [low, b'-', high, behind @ ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                behind
            }
            [literal, behind @ ..] => {
                found |= *literal == byte;
                behind
            }
        };
    }
    (found != negated, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases: &[(&str, &str, bool)] = &[
            ("*", "", true),
            ("*", "anything", true),
            ("user_noti:*", "user_noti:123", true),
            ("user_noti:*", "user_noti", false),
            ("*:123", "user_noti:123", true),
            ("*1*3", "123123", true),
            ("*1*4", "123123", false),
            ("a**b", "ab", true),
            ("u?er", "user", true),
            ("u?er", "uer", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("h[\\]]", "h]", true),
            ("h[a", "ha", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                *expected,
                "{pattern:?} {text:?}"
            );
        }
    }

    #[test]
    fn every_pattern_is_matched_in_bounded_time() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
