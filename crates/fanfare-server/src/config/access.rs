//! The settings of the authorizer. Those of a channel rule are `fanfare_core::policy::Rule`.

use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl, OptionalText};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// Your own service that decides if no rule does.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorizer {
    /// The URL to ask, by `POST`. A user and a password in it are sent as basic authentication. Empty disables the
    /// authorizer.
    #[serde(with = "OptionalText::<GuardedUrl>")]
    pub url: Option<GuardedUrl>,

    /// The time limit of an answer, including the wait for a free request. Without an answer, the action is denied.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(2))]
    pub timeout: Duration,

    /// The time for which an answer is cached. `0s` asks each time.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(30))]
    pub cache: Duration,

    /// The maximum number of requests in progress.
    #[schemars(range(min = 1, max = 10_000))]
    #[default(64)]
    pub max_concurrent: usize,
}
