//! Who may publish.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};

/// The secrets that let a publisher in: the door's password and the API keys.
///
/// Only digests are kept, and all of them are compared in full, so that the time an answer takes tells nothing of a
/// secret, its length included.
#[derive(Clone, Default)]
pub struct Credentials {
    digests: Vec<digest::Digest>,
}

impl Credentials {
    /// Takes the secrets; empty ones are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let digests = secrets
            .into_iter()
            .filter(|secret| !secret.is_empty())
            .map(|secret| digest_of(secret.as_bytes()))
            .collect();
        Self { digests }
    }

    /// Whether everybody is let in, since no secret was configured.
    pub fn is_open(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether `secret` lets in.
    pub fn admit(&self, secret: &[u8]) -> bool {
        let offered = digest_of(secret);
        let matches = self
            .digests
            .iter()
            .filter(|digest| verify_slices_are_equal(digest.as_ref(), offered.as_ref()).is_ok())
            .count();
        self.is_open() || matches > 0
    }
}

fn digest_of(secret: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, secret)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} secrets)", self.digests.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_secrets_lets_in() {
        let credentials = Credentials::new(["password", "", "key"]);
        assert!(!credentials.is_open());
        for (secret, expected) in [
            ("password", true),
            ("key", true),
            ("", false),
            ("Password", false),
            ("passwor", false),
            ("password\0", false),
        ] {
            assert_eq!(credentials.admit(secret.as_bytes()), expected, "{secret:?}");
        }
    }

    #[test]
    fn no_secret_lets_everybody_in() {
        let credentials = Credentials::new([""]);
        assert!(credentials.is_open());
        assert!(credentials.admit(b"whatever"));
    }

    #[test]
    fn prints_no_secret() {
        assert_eq!(
            format!("{:?}", Credentials::new(["hunter2"])),
            "Credentials(1 secrets)"
        );
    }
}
