//! The settings of traces and tails.

use fanfare_engine::ObserveLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

/// Limits of `fanfare trace` and `fanfare tail`, on each node.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observe {
    /// The most traced events that a node keeps. The oldest are evicted.
    #[schemars(range(min = 1, max = 10_000))]
    #[default(ObserveLimits::default().max_traces)]
    pub max_traces: usize,

    /// The most connections that are recorded and followed of one traced event, and as many again of the user that the trace is
    /// about. The others are counted.
    #[schemars(range(min = 1, max = 5000))]
    #[default(ObserveLimits::default().max_traced_connections)]
    pub max_traced_connections: usize,

    /// The most traces that are armed at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    #[default(ObserveLimits::default().max_armed)]
    pub max_armed: usize,

    /// The most tails that are open at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    #[default(ObserveLimits::default().max_tails)]
    pub max_tails: usize,

    /// The most events that wait for the reader of one tail. Further ones are lost, and the reader is told how many.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(ObserveLimits::default().tail_queue)]
    pub tail_queue: usize,

    /// The most bytes of such events. An event that is larger waits alone.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    #[default(ObserveLimits::default().tail_queue_size)]
    pub tail_queue_size: usize,
}

impl Observe {
    /// Returns the engine's limits.
    pub fn limits(&self) -> ObserveLimits {
        ObserveLimits {
            max_traces: self.max_traces,
            max_traced_connections: self.max_traced_connections,
            max_armed: self.max_armed,
            max_tails: self.max_tails,
            tail_queue: self.tail_queue,
            tail_queue_size: self.tail_queue_size,
        }
    }
}
