//! Who may use which channel: the access rules, and the authorizer behind them.

use std::sync::Arc;

use fanfare_core::policy::{Policy, PolicyOptions, RoomAccess};
use tokio::runtime::Handle;

use super::settings;
use crate::{
    access::{self, AccessError, Webhook},
    config::Config,
};

/// The rules of the configuration, over defaults that the dialects' options shape.
///
/// # Errors
/// When a rule is none, which the configuration's checks find before.
pub fn policy(config: &Config) -> Result<Policy, AccessError> {
    let defaults = defaults(config);
    access::policy(config, defaults.rooms, defaults.public)
}

/// Who may use a room of which no rule says anything.
pub(super) fn rooms(config: &Config) -> RoomAccess {
    defaults(config).rooms
}

/// What the dialects' options say.
fn defaults(config: &Config) -> PolicyOptions {
    let mut options = PolicyOptions::default();
    for kind in fanfare_dialects::ALL {
        kind.shape_policy(&settings::configured(config, *kind).options, &mut options);
    }
    options
}

/// The authorizer, if one is configured. Its requests run on the runtime this is called in.
pub(super) fn authorizer(config: &Config) -> Result<Option<Arc<Webhook>>, AccessError> {
    Ok(Webhook::new(&config.authorizer, Handle::current())?.map(Arc::new))
}
