//! The settings of access: channel rules and the authorizer. One struct each, as in `model`.

use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::history::ChannelHistory;
use super::types::Optional;

/// A rule about who may do what on the channels that a pattern matches.
// The fields are texts, so that the checks can name the wrong one and its line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRule {
    /// The channels that the rule is for, such as `reports.{user}.**`: segments between `.` or `:`. `*` is one segment,
    /// `**` one or more, and `{user}` is one segment that `owner` compares with the user's id.
    pub pattern: String,

    /// Who may receive the events: `anyone`, `authenticated`, `owner`, `role:NAME`, `claim:NAME=VALUE`, `service`
    /// (backends alone) or `nobody`. If it is not set, the rule leaves it to what decides after the rules.
    #[serde(default, with = "Optional::<String>")]
    pub subscribe: Option<String>,

    /// Which clients may publish, in the same words. In a room, it defaults to those who may read it.
    #[serde(default, with = "Optional::<String>")]
    pub publish: Option<String>,

    /// Who may be a member, if the channel is a room, in the same words. If `subscribe` is set too, both must allow it.
    /// It has no effect on other channels.
    #[serde(default, with = "Optional::<String>")]
    pub join: Option<String>,

    /// How many events of each of these channels are kept for clients that were away, and for how long, such as
    /// `{ size = 100, ttl = "5m" }`. Of the rules that match a channel, the first that has it counts. A rule with nothing else
    /// leaves access to the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChannelHistory")]
    pub history: Option<ChannelHistory>,
}

/// Your own service that decides where no rule does.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorizer {
    /// The URL to ask, by `POST`. A user and a password in it are sent as basic authentication. Empty switches the
    /// authorizer off.
    #[serde(with = "Optional::<GuardedUrl>")]
    pub url: Option<GuardedUrl>,

    /// How long an answer may take, including the wait for a free request. A late answer counts as no.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(2))]
    pub timeout: Duration,

    /// How long an answer is cached. `0s` asks each time.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(30))]
    pub cache: Duration,

    /// The most requests in progress at once.
    #[schemars(range(min = 1, max = 10_000))]
    #[default(64)]
    pub max_concurrent: usize,
}
