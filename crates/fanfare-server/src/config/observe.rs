//! The settings of traces and tails.

use fanfare_engine::ObserveLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of `fanfare trace` and `fanfare tail`, on each node.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observe {
    /// The most traced events that a node keeps. The oldest are evicted.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_traces: usize,

    /// The most connections that are recorded of one traced event, and as many again of the user that the trace is about.
    /// The others are counted.
    #[schemars(range(min = 1, max = 5000))]
    pub max_traced_connections: usize,

    /// The most traces that are armed at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    pub max_armed: usize,

    /// The most tails that are open at once. A further one is refused.
    #[schemars(range(min = 1, max = 1000))]
    pub max_tails: usize,

    /// The most events that wait for the reader of one tail. Further ones are lost, and the reader is told how many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tail_queue: usize,

    /// The most bytes of such events. An event that is larger waits alone.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub tail_queue_size: usize,
}

impl Default for Observe {
    fn default() -> Self {
        let limits = ObserveLimits::default();
        Self {
            max_traces: limits.max_traces,
            max_traced_connections: limits.max_traced_connections,
            max_armed: limits.max_armed,
            max_tails: limits.max_tails,
            tail_queue: limits.tail_queue,
            tail_queue_size: limits.tail_queue_size,
        }
    }
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
