//! The dialects of a build.

use super::DialectKind;

/// The dialects of a build, in the order of reports. The index of a dialect is its number in the engine. Only the program's
/// `main` names the registry, and passes it on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registry {
    dialects: &'static [&'static DialectKind],
    sharing: &'static [(&'static str, &'static str)],
}

impl Registry {
    /// Returns a registry of dialects with different names. `sharing` has the pairs of a host and a guest that may share a
    /// path on one listener: the guest gets the handshakes that it claims, and the connections whose message it
    /// recognizes.
    pub const fn new(
        dialects: &'static [&'static DialectKind],
        sharing: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { dialects, sharing }
    }

    /// Returns the dialects.
    pub fn iter(self) -> impl Iterator<Item = &'static DialectKind> + Clone {
        self.dialects.iter().copied()
    }

    /// Returns the dialects with a default address, where `--dialect` serves them.
    pub fn addressed(self) -> impl Iterator<Item = &'static DialectKind> + Clone {
        self.iter().filter(|kind| !kind.binds.is_empty())
    }

    /// Returns the numbers of the dialects that every listener serves.
    pub fn everywhere(self) -> impl Iterator<Item = usize> {
        let numbered = self.iter().enumerate();
        numbered.filter_map(|(number, kind)| kind.everywhere.then_some(number))
    }

    /// Returns the number of the dialect of that name.
    pub fn number(self, name: &str) -> Option<usize> {
        self.iter().position(|kind| kind.name == name)
    }

    /// Returns the dialect of that name.
    pub fn find(self, name: &str) -> Option<&'static DialectKind> {
        self.iter().find(|kind| kind.name == name)
    }

    /// Returns `true` if `host` and `guest` may share a path.
    pub fn may_share_path(self, host: &str, guest: &str) -> bool {
        self.sharing.contains(&(host, guest))
    }
}
