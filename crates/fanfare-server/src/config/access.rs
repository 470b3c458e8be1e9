//! The settings that say who may use which channel. A struct each, as in `model`.

use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::Optional;

/// A rule about who may do what on the channels that a pattern matches.
// The fields are texts, so that the checks can say which of them is wrong and on which line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRule {
    /// The channels that the rule is for, such as `reports.{user}.**`: segments between `.` or `:`. `*` is one segment,
    /// `**` one or more, and `{user}` is one segment that `owner` compares with the user's id.
    pub pattern: String,

    /// Who may hear what is published: `anyone`, `authenticated`, `owner`, `role:NAME`, `claim:NAME=VALUE`, `service`
    /// (backends alone) or `nobody`. Not set, it is left to what decides after the rules.
    #[serde(default, with = "Optional::<String>")]
    pub subscribe: Option<String>,

    /// Which clients may publish; in the same words. A room of which the rule says only who may read it lets the same
    /// users publish.
    #[serde(default, with = "Optional::<String>")]
    pub publish: Option<String>,

    /// Who may be a member, where the channel is a room; in the same words. Where `subscribe` is set too, both must
    /// allow it. On other channels it says nothing.
    #[serde(default, with = "Optional::<String>")]
    pub join: Option<String>,
}

/// A service of yours that decides where no rule does.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorizer {
    /// Where the service is asked, by `POST`. A user and a password in it are sent as basic authentication. Empty
    /// asks nobody.
    #[serde(with = "Optional::<GuardedUrl>")]
    pub url: Option<GuardedUrl>,

    /// How long an answer may take, the wait for a free request included. Late means no.
    #[serde(with = "DurationText::<1>")]
    pub timeout: Duration,

    /// How long an answer is remembered. `0s` asks anew each time.
    #[serde(with = "DurationText::<0>")]
    pub cache: Duration,

    /// The most requests under way at once.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent: usize,
}

impl Default for Authorizer {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Duration::from_secs(2),
            cache: Duration::from_secs(30),
            max_concurrent: 64,
        }
    }
}
