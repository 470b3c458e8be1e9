//! Who may use which channel: the access rules, and the authorizer behind them.

use std::sync::Arc;

use fanfare_core::policy::{Authorizer, Policy, PolicyOptions};

use crate::{config::Config, engine::Mounting};

/// The rules of the configuration over the defaults that the dialects' options shape.
pub(super) fn open(
    config: &Config,
    dialects: &[Mounting],
) -> Result<(Policy, Option<Arc<dyn Authorizer>>), String> {
    let _ = config;
    let mut options = PolicyOptions::default();
    for mounting in dialects {
        mounting.dialect.shape_policy(&mut options);
    }
    Ok((Policy::new(options), None))
}
