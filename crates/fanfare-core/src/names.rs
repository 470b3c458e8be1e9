//! The names that events are addressed to: users and channels.

use std::sync::Arc;

use crate::{
    segments::{MANY, ONE},
    text::reads_as_str,
};

/// The maximum length of a user id, a channel's name or a pattern, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The maximum number of segments of a channel's name or a pattern.
pub const MAX_SEGMENTS: usize = 32;

/// The reason why a text is not a name or a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It is longer than [`MAX_NAME_BYTES`].
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// It has more than [`MAX_SEGMENTS`] segments.
    #[error("the name has more than {MAX_SEGMENTS} segments")]
    TooDeep,
    /// It has a separator at an end, or two without text between them.
    #[error("the name has an empty segment")]
    EmptySegment,
    /// It is a pattern, but must be the name of a channel.
    #[error("the name is a pattern: a channel's name has no `*`")]
    Wildcard,
    /// It has a segment with a `*` and other text.
    #[error("`*` must be a whole segment of a pattern, as in `chat.*`")]
    PartialWildcard,
    /// It has a control character, which could corrupt a log or a terminal.
    #[error("the name has a control character in it")]
    ControlCharacter,
}

/// A user's id: the `sub` of a token, compared byte by byte. Any text without control characters, except the empty one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Parses `id`.
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
    /// Parses `name`.
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

/// Returns `true` for printable ASCII, which is a fast check: most names are, and each event has one.
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
    fn channels_names_are_checked() {
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
    fn user_ids_are_checked() {
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
