//! Normalises users' display names, so that no two of them look alike and none has invisible characters.
//!
//! A name is trimmed and normalised to NFKC, so that full-width and other compatibility forms are plain letters.
//! Control and format characters (UTS #39 restricts most of them: directions, zero widths, tags) are refused, except
//! the joiners within scripts and emoji that need them. Letters of several scripts in one word are refused, because
//! they make one name look like another; so is a name that looks like the server's own.

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_security::{MixedScript, skeleton};

use crate::AccountError;

/// The longest name, in bytes.
const MAX_BYTES: usize = 200;
/// The sender of the server's own messages.
const RESERVED: &str = "system";
/// Characters that join their neighbours.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Returns the normalised name; `None` if it is empty.
pub(crate) fn normalise_name(text: &str) -> Result<Option<String>, AccountError> {
    let bad = |issue| Err(AccountError::bad("name", issue));
    // NFKC may make a text 11 times longer, so a text that is much too long is refused first.
    if text.len() > MAX_BYTES * 2 {
        return bad("longer than 200 bytes");
    }
    let name: String = text.trim().nfkc().collect();
    if name.len() > MAX_BYTES {
        return bad("longer than 200 bytes");
    }
    if hides(&name) {
        return bad("has characters that are not seen");
    }
    if !name.split_whitespace().all(MixedScript::is_single_script) {
        return bad("has letters of several scripts in one word");
    }
    if skeleton(&name.to_lowercase()).eq(skeleton(RESERVED)) {
        return bad("looks like the server's own");
    }
    Ok((!name.is_empty()).then_some(name))
}

/// Returns whether the name has characters that are invisible or change the look of others.
fn hides(name: &str) -> bool {
    let mut before = ' ';
    name.chars().any(|found| {
        let joins = JOINERS.contains(&found) && !before.is_ascii();
        before = found;
        let kind = found.general_category();
        matches!(kind, GeneralCategory::Control | GeneralCategory::Format) && !joins
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_normalised_to_one_text() {
        for (given, expected) in [
            ("Ann", "Ann"),
            ("  Ann \n", "Ann"),
            ("Ａｎｎ", "Ann"),
            ("Zoe\u{308} 😀", "Zoë 😀"),
            ("Robert'); DROP TABLE users;--", "Robert'); DROP TABLE users;--"),
            ("Анна (Anna)", "Анна (Anna)"),
            ("田中 たろう", "田中 たろう"),
            ("Ann 👩\u{200d}💻", "Ann 👩\u{200d}💻"),
            ("systems", "systems"),
        ] {
            assert_eq!(normalise_name(given), Ok(Some(expected.to_owned())), "{given:?}");
        }
        assert_eq!(normalise_name(" "), Ok(None));
    }

    #[test]
    fn names_that_look_like_another_are_refused() {
        for given in [
            "Аnn", // the first letter is Cyrillic
            "a\u{200b}b",
            "a\u{200d}b",
            "\u{202e}nna",
            "ann\u{e0061}",
            "a\0b",
            "a\u{1b}[31m",
            "system",
            "System",
            "ｓｙｓｔｅｍ",
            "sуstem",
            &"x".repeat(201),
            &"\u{fdfa}".repeat(66),
        ] {
            assert!(normalise_name(given).is_err(), "{given:?}");
        }
    }
}
