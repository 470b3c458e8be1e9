//! The settings of access: channel rules and the authorizer. One struct each, as in `model`.

use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::history::ChannelHistory;
use super::types::Optional;

/// A rule that decides which users may act on the channels that a pattern matches.
// The fields are texts, so that the checks can name the wrong one and its line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRule {
    /// The channels of the rule, such as `reports.{user}.**`: segments between `.` or `:`. `*` is one segment, `**` one
    /// or more, and `{user}` is one segment that `owner` compares with the user's id.
    pub pattern: String,

    /// The clients that may receive the events: `anyone`, `authenticated`, `owner`, `role:NAME`, `claim:NAME=VALUE`,
    /// `service` (only backends) or `nobody`. If it is not set, the authorizer and the defaults decide.
    #[serde(default, with = "Optional::<String>")]
    pub subscribe: Option<String>,

    /// The clients that may publish, with the same values. In a room, it defaults to those that may read it.
    #[serde(default, with = "Optional::<String>")]
    pub publish: Option<String>,

    /// The clients that may be members, if the channel is a room, with the same values. If `subscribe` is also set,
    /// both must allow it. It has no effect on other channels.
    #[serde(default, with = "Optional::<String>")]
    pub join: Option<String>,

    /// How many events of each of these channels are kept for clients that reconnect, and for how long, such as
    /// `{ size = 100, ttl = "5m" }`. Of the rules that match a channel, the first with `history` counts. A rule with
    /// only `history` leaves access to the other rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ChannelHistory")]
    pub history: Option<ChannelHistory>,
}

/// Your own service that decides if no rule does.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorizer {
    /// The URL to ask, by `POST`. A user and a password in it are sent as basic authentication. Empty disables the
    /// authorizer.
    #[serde(with = "Optional::<GuardedUrl>")]
    pub url: Option<GuardedUrl>,

    /// How long an answer may take, including the wait for a free request. A late answer means no.
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
