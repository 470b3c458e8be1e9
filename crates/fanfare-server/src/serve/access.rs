//! Who may use which channel: the access rules, and the authorizer behind them.

use std::sync::Arc;

use fanfare_core::policy::{Authorizer, Policy, PolicyOptions};
use tokio::runtime::Handle;

use crate::{
    access::{self, Webhook},
    config::Config,
    engine::Mounting,
};

/// The rules of the configuration, over defaults that the dialects' options shape.
///
/// # Errors
/// When a rule is none, which the configuration's checks find before.
pub fn policy(config: &Config, dialects: &[Mounting]) -> Result<Policy, String> {
    let mut options = PolicyOptions::default();
    for mounting in dialects {
        mounting.dialect.shape_policy(&mut options);
    }
    access::policy(config, options.rooms, options.public).map_err(|error| error.to_string())
}

/// The authorizer, if one is configured. Its requests run on the runtime this is called in.
pub(super) fn authorizer(config: &Config) -> Result<Option<Arc<dyn Authorizer>>, String> {
    let webhook = Webhook::new(&config.authorizer, Handle::current()).map_err(|error| error.to_string())?;
    Ok(webhook.map(|webhook| Arc::new(webhook) as Arc<dyn Authorizer>))
}
