//! Who may use which channel: the access rules, and the authorizer behind them.

use std::sync::Arc;

use fanfare_core::policy::{KnownNames, Policy, PolicyOptions, RoomAccess};
use tokio::runtime::Handle;

use super::settings;
use crate::{
    access::{self, AccessError, Webhook},
    config::Config,
    messages::MESSAGES_CHANNEL,
};

/// The rules of the configuration, over defaults that the dialects' options shape.
///
/// # Errors
/// When a rule is none, which the configuration's checks find before.
pub fn policy(config: &Config) -> Result<Policy, AccessError> {
    access::policy(config, defaults(config))
}

/// Who may use a room of which no rule says anything.
pub(super) fn rooms(config: &Config) -> RoomAccess {
    defaults(config).rooms
}

/// What the dialects declare and their options say.
fn defaults(config: &Config) -> PolicyOptions {
    let kinds = fanfare_dialects::ALL.iter();
    let mut options = PolicyOptions {
        names: KnownNames {
            rooms: kinds.flat_map(|kind| kind.rooms()).copied().collect(),
            feed: Some(MESSAGES_CHANNEL),
        },
        ..PolicyOptions::default()
    };
    for kind in fanfare_dialects::ALL {
        kind.shape_policy(&settings::configured(config, *kind).options, &mut options);
    }
    options
}

/// The authorizer, if one is configured. Its requests run on the runtime this is called in.
pub(super) fn authorizer(config: &Config) -> Result<Option<Arc<Webhook>>, AccessError> {
    Ok(Webhook::new(&config.authorizer, Handle::current())?.map(Arc::new))
}
