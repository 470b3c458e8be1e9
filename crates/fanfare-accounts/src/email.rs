//! Normalises e-mail addresses, so that no two of them look alike.
//!
//! An address is trimmed, normalised to NFKC and lower-cased. That includes the part before the `@`: RFC 5321 lets a mail
//! server distinguish cases, but none does, and users do not know which they typed. Its domain is normalised by IDNA, so
//! that `BÜCHER.example` and `xn--bcher-kva.example` are equal. Each part may use one script besides ASCII (UTS #39), and
//! the whole must not look like ASCII: `аpple` with a Cyrillic letter is refused, and so is an all Cyrillic `аррӏе`.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::{MixedScript, skeleton};

use crate::AccountError;

/// The longest address, in bytes (RFC 5321 section 4.5.3.1.3, without the brackets).
const MAX_BYTES: usize = 254;
/// The longest part before the `@`, in bytes (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// Returns the normalised address.
///
/// # Errors
/// [`AccountError::Bad`] if it is not an address, or looks like another one.
pub fn normalise_email(text: &str) -> Result<String, AccountError> {
    let bad = |issue| AccountError::bad("email", issue);
    let text = text.trim();
    if text.is_empty() {
        return Err(bad("required"));
    }
    // NFKC may make a text 11 times longer, so a text that is much too long is refused first.
    if text.len() > MAX_BYTES * 2 {
        return Err(bad("too long"));
    }
    let folded: String = text.nfkc().collect::<String>().to_lowercase().nfkc().collect();
    let (local, domain) = folded.rsplit_once('@').ok_or(bad("not an e-mail address"))?;
    if !is_local_part(local) {
        return Err(bad("not an e-mail address"));
    }
    let domain = unicode_domain(domain).ok_or(bad("not an e-mail address"))?;
    let address = format!("{local}@{domain}");
    if address.len() > MAX_BYTES || local.len() > MAX_LOCAL_BYTES {
        return Err(bad("too long"));
    }
    let parts_agree = local.is_single_script() && domain.split('.').all(MixedScript::is_single_script);
    let looks_ascii = !address.is_ascii() && skeleton(&address).all(|found| found.is_ascii());
    if !parts_agree || looks_ascii {
        return Err(bad("looks like another address"));
    }
    Ok(address)
}

/// Returns whether `local` is a dot-atom (RFC 5322 section 3.2.3), with letters of any script (RFC 6531). Quoted forms
/// are refused: no user has one.
fn is_local_part(local: &str) -> bool {
    // A letter without a composed form keeps its mark, as in most scripts of India.
    let is_atom = |found: char| {
        found.is_alphanumeric() || is_combining_mark(found) || "!#$%&'*+-/=?^_`{|}~".contains(found)
    };
    let mut atoms = local.split('.');
    atoms.all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
}

/// Returns the normalised domain, in Unicode; `None` if it is not a domain.
fn unicode_domain(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain).ok()?;
    // No mailbox on the internet has an address literal or a local host name.
    let (_, last) = ascii.rsplit_once('.')?;
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (unicode, result) = idna::domain_to_unicode(&ascii);
    result.is_ok().then_some(unicode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_normalised_to_one_text() {
        for (given, expected) in [
            ("alice@example.com", "alice@example.com"),
            ("  Alice@Example.COM\n", "alice@example.com"),
            ("a.b+tag@sub.example.com", "a.b+tag@sub.example.com"),
            ("ａｌｉｃｅ@example.com", "alice@example.com"), // full width
            ("JOSE\u{301}@example.com", "josé@example.com"),
            ("josé@example.com", "josé@example.com"),
            ("a@BÜCHER.example", "a@bücher.example"),
            ("a@xn--bcher-kva.example", "a@bücher.example"),
            ("иван@почта.рф", "иван@почта.рф"),
            ("хор@почта.рф", "хор@почта.рф"),
            ("用户@例子.中国", "用户@例子.中国"),
            ("たなか田中@example.jp", "たなか田中@example.jp"),
            ("संपर्क@example.in", "संपर्क@example.in"),
            ("o'neil@example.com", "o'neil@example.com"),
        ] {
            assert_eq!(normalise_email(given).as_deref(), Ok(expected), "{given:?}");
        }
    }

    #[test]
    fn texts_that_are_no_address_or_look_like_another_are_refused() {
        let check = |given: &str, issue: &'static str| {
            assert_eq!(
                normalise_email(given),
                Err(AccountError::bad("email", issue)),
                "{given:?}"
            );
        };
        check(" ", "required");
        for given in [
            "alice",
            "@example.com",
            "alice@",
            "alice@localhost",
            "alice@example",
            "alice@example.com.",
            "alice@127.0.0.1",
            "alice@[::1]",
            "a b@example.com",
            "a@b@example.com",
            ".a@example.com",
            "a..b@example.com",
            "\"a\"@example.com",
            "a\0@example.com",
            "a\r\nbcc:x@example.com",
            "a@exa mple.com",
            "a@-example.com",
            "a@example..com",
            "a@exa_mple.com",
            "a\u{200b}@example.com",
            "a\u{202e}@example.com",
        ] {
            check(given, "not an e-mail address");
        }
        for given in [
            "аpple@example.com",
            "аррӏе@example.com",
            "a@аpple.com",
            "paypa\u{4cf}@example.com",
        ] {
            check(given, "looks like another address");
        }
        check(&format!("{}@example.com", "x".repeat(65)), "too long");
        check(&format!("x@{}com", "example.".repeat(70)), "too long");
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        for given in ["İ@example.com", "ﬁ@example.com", "ẞ@example.com", "Ǆ@example.com"] {
            if let Ok(once) = normalise_email(given) {
                assert_eq!(normalise_email(&once), Ok(once.clone()), "{given}");
            }
        }
    }
}
