//! The access rules, and the authorizer after them.

use std::sync::Arc;

use fanfare_core::policy::{KnownNames, Policy, PolicyOptions, RoomAccess};
use tokio::runtime::Handle;

use super::settings;
use crate::{
    access::{self, AccessError, Webhook},
    config::Config,
    messages::MESSAGES_CHANNEL,
};

/// Returns the rules of the configuration, over defaults that the dialects' options shape.
pub(crate) fn policy(config: &Config) -> Policy {
    access::policy(config, defaults(config))
}

/// Returns who may use a room that no rule decides about.
pub(super) fn rooms(config: &Config) -> RoomAccess {
    defaults(config).rooms
}

fn defaults(config: &Config) -> PolicyOptions {
    let kinds = config.registry.iter();
    let mut options = PolicyOptions {
        names: KnownNames {
            rooms: kinds.flat_map(|kind| kind.rooms).copied().collect(),
            feed: Some(MESSAGES_CHANNEL),
        },
        ..PolicyOptions::default()
    };
    for kind in config.registry.iter() {
        (kind.shape_policy)(&settings::configured(config, kind).options, &mut options);
    }
    options
}

pub(super) fn authorizer(config: &Config) -> Result<Option<Arc<Webhook>>, AccessError> {
    Ok(Webhook::new(&config.authorizer, Handle::current())?.map(Arc::new))
}
