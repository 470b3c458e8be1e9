//! The credentials of services, at every door alike: API keys, and the password of the Redis-protocol door.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};

/// A set of secrets, any of which admits a service.
///
/// It keeps only digests and compares all of them in full, so that the time of an answer reveals nothing about a
/// secret, not even its length.
#[derive(Clone, Default)]
pub struct Credentials {
    digests: Vec<digest::Digest>,
    /// Whether a secret was configured. An empty one also closes the door, although no caller can send it.
    closed: bool,
}

impl Credentials {
    /// Returns the set of the configured secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut credentials = Self::default();
        for secret in secrets {
            credentials.closed = true;
            if !secret.is_empty() {
                credentials.digests.push(digest_of(secret.as_bytes()));
            }
        }
        credentials
    }

    /// Returns whether no secret was configured. The caller decides whether that admits all or no clients.
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    /// Returns whether `offered` is one of the secrets.
    pub fn hold(&self, offered: &[u8]) -> bool {
        let offered = digest_of(offered);
        let same = |own: &digest::Digest| verify_slices_are_equal(own.as_ref(), offered.as_ref()).is_ok();
        self.digests.iter().fold(false, |found, own| found | same(own))
    }

    /// Returns the user name of connections with this secret. It identifies the secret without revealing it.
    pub fn name_of(secret: &[u8]) -> String {
        name(&digest_of(secret))
    }

    /// Returns whether a secret that is no longer in this set admitted the connection of this name.
    pub fn has_lost(&self, known_as: &str) -> bool {
        known_as.starts_with(NAME) && !self.digests.iter().any(|own| name(own) == known_as)
    }
}

const NAME: &str = "api-key-";

fn name(digest: &digest::Digest) -> String {
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{NAME}{:08x}", u32::from_be_bytes(first))
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
    fn each_secret_admits_a_service() {
        let credentials = Credentials::new(["password", "", "key"]);
        for (secret, expected) in [
            ("password", true),
            ("key", true),
            ("", false),
            ("Password", false),
            ("passwor", false),
            ("password\0", false),
        ] {
            assert_eq!(credentials.hold(secret.as_bytes()), expected, "{secret:?}");
        }
    }

    #[test]
    fn a_connection_is_named_by_its_secret() {
        let (both, one) = (Credentials::new(["first", "second"]), Credentials::new(["first"]));
        let name = Credentials::name_of(b"second");
        assert_eq!(name, "api-key-16367aac");
        assert!(one.has_lost(&name) && !both.has_lost(&name));
        assert!(!one.has_lost("ann"));
    }

    #[test]
    fn a_door_is_open_while_nothing_is_configured() {
        for (secrets, open) in [(&[][..], true), (&[""], false), (&["key"], false)] {
            let credentials = Credentials::new(secrets.iter().copied());
            assert_eq!(credentials.is_open(), open, "{secrets:?}");
            assert!(
                !credentials.hold(b"") && !credentials.hold(b"whatever"),
                "{secrets:?}"
            );
        }
    }

    #[test]
    fn prints_no_secret() {
        assert_eq!(
            format!("{:?}", Credentials::new(["hunter2"])),
            "Credentials(1 secrets)"
        );
    }
}
