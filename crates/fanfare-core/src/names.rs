//! The names that events are addressed to: users and channels.

use std::sync::Arc;

use crate::{
    segments::{MANY, ONE},
    text::reads_as_str,
};

/// The longest user id or channel name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The most segments a channel name may have.
pub const MAX_SEGMENTS: usize = 32;

/// Why a string is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_SEGMENTS`] segments.
    #[error("the name has more than {MAX_SEGMENTS} segments")]
    TooDeep,
    /// Two separators with nothing between them, or one at an end.
    #[error("the name has an empty segment")]
    EmptySegment,
    /// It is a pattern, where one channel's name is expected.
    #[error("the name is a pattern: a channel's name has no `*`")]
    Wildcard,
    /// `*` beside other text in one segment, in a name or a pattern.
    #[error("`*` must be a whole segment of a pattern, as in `chat.*`")]
    PartialWildcard,
    /// A control character, which could corrupt a log or a terminal.
    #[error("the name has a control character in it")]
    ControlCharacter,
}

/// A user's id: the `sub` of a token, compared byte by byte. Any text except the empty string and control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks `id`.
    ///
    /// # Errors
    /// If it is empty, longer than [`MAX_NAME_BYTES`], or has control characters.
    pub fn new(id: &str) -> Result<Self, BadName> {
        check_text(id)?;
        Ok(Self(id.into()))
    }
}

/// The name of a channel: segments separated by `.` or `:`, compared byte by byte. `a.b` and `a:b` are two channels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Checks `name`.
    ///
    /// # Errors
    /// If it is empty, too long, too deep, or has an empty segment, a wildcard or a control character.
    pub fn new(name: &str) -> Result<Self, BadName> {
        check_text(name)?;
        check_segments(name)?;
        if name.contains('*') {
            return Err(BadName::Wildcard);
        }
        Ok(Self(name.into()))
    }
}

pub(crate) fn check_segments(name: &str) -> Result<(), BadName> {
    let mut segments = 0;
    let mut partial = false;
    for segment in name.split(['.', ':']) {
        segments += 1;
        if segment.is_empty() {
            return Err(BadName::EmptySegment);
        }
        partial |= segment.contains('*') && !matches!(segment, ONE | MANY);
    }
    if segments > MAX_SEGMENTS {
        Err(BadName::TooDeep)
    } else if partial {
        Err(BadName::PartialWildcard)
    } else {
        Ok(())
    }
}

/// Returns whether `text` is valid without a check of each character, as nearly all names are; each event has one.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

pub(crate) fn check_text(text: &str) -> Result<(), BadName> {
    if text.is_empty() {
        Err(BadName::Empty)
    } else if text.len() > MAX_NAME_BYTES {
        Err(BadName::TooLong)
    } else if !is_printable_ascii(text) && text.chars().any(char::is_control) {
        Err(BadName::ControlCharacter)
    } else {
        Ok(())
    }
}

reads_as_str!(UserId, BadName);
reads_as_str!(Channel, BadName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels() {
        let deep = ["a"; MAX_SEGMENTS + 1].join(".");
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        let cases: &[(&str, Option<BadName>)] = &[
            ("chat.general", None),
            ("channel:456", None),
            ("a", None),
            ("مرحبا.世界", None),
            (&deep[2..], None),
            (&long[1..], None),
            ("", Some(BadName::Empty)),
            (&long, Some(BadName::TooLong)),
            (&deep, Some(BadName::TooDeep)),
            (".a", Some(BadName::EmptySegment)),
            ("a:", Some(BadName::EmptySegment)),
            ("a..b", Some(BadName::EmptySegment)),
            ("a.*", Some(BadName::Wildcard)),
            ("**", Some(BadName::Wildcard)),
            ("bad*", Some(BadName::PartialWildcard)),
            ("a.***", Some(BadName::PartialWildcard)),
            ("*.b*", Some(BadName::PartialWildcard)),
            ("a\nb", Some(BadName::ControlCharacter)),
        ];
        for (name, expected) in cases {
            assert_eq!(Channel::new(name).err(), *expected, "{name:?}");
        }
    }

    #[test]
    fn users() {
        for good in [
            "user123",
            "a:b:c",
            "a b",
            "مستخدم",
            "🎺",
            &"a".repeat(MAX_NAME_BYTES),
        ] {
            assert!(UserId::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a\0", "a\u{7f}", &"a".repeat(MAX_NAME_BYTES + 1)] {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
    }
}
