//! The settings of `[telemetry]`: the traces that the server sends to a collector.

use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::types::{Optional, Secret};

/// The traces that the server sends to a collector.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Traces for an OpenTelemetry collector, by OTLP over HTTP with protobuf.
    pub otlp: Otlp,
}

/// Traces for an OpenTelemetry collector, by OTLP over HTTP with protobuf.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The URL of the collector, such as `http://127.0.0.1:4318`. Without a path, spans go to `/v1/traces` there. Empty sends
    /// nothing.
    #[serde(with = "Optional::<GuardedUrl>")]
    pub endpoint: Option<GuardedUrl>,

    /// Headers of each request to the collector, such as `["Authorization: Bearer …"]`.
    pub headers: Vec<Secret>,

    /// The name of this service in the traces.
    #[default("fanfare".to_owned())]
    pub service_name: String,

    /// How many of a thousand publications without a `traceparent` begin a trace. A publication with a `traceparent`
    /// belongs to its trace, if that is sampled.
    #[schemars(range(max = 1000))]
    #[default(10)]
    pub traces_per_thousand: u32,

    /// The most spans that wait for the collector. Further spans are dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(4096)]
    pub max_queued_spans: usize,

    /// How long a request to the collector may take. The spans of a failed request are dropped and counted.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(5))]
    pub timeout: Duration,
}
