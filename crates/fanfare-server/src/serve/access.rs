//! Who may use which channel on this server.

use fanfare_core::policy::{Policy, RoomAccess};

use crate::{
    access::{self, AccessError},
    config::Config,
};

/// The policy of a configuration. No dialect of this build has settings about rooms or public channels, so the usual
/// defaults hold.
///
/// # Errors
/// When an access rule is none; the checks of a configuration find that first.
pub fn policy(config: &Config) -> Result<Policy, AccessError> {
    access::policy(config, RoomAccess::default(), None)
}
