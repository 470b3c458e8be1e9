//! Measures any WebSocket server that already runs: a [`Plan`] describes the messages of its clients.

mod marks;
mod plan;
mod traffic;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

pub use self::plan::Plan;
use self::plan::Work;
use crate::{
    block_on, handshakes,
    memory::{WARM_UP, settled},
    process::Spent,
    receivers::Receivers,
};

/// The result of a [`Plan`].
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Published messages.
    Traffic(Traffic),
    /// Connections that were opened and closed.
    Handshakes {
        /// The number of connections.
        handshakes: u64,
        /// The resources of that time.
        #[serde(flatten)]
        usage: Usage,
    },
    /// Idle connections.
    Idle {
        /// The number of connections.
        connections: usize,
        /// The server's memory before they were opened, in bytes (Pss).
        bytes_before: u64,
        /// The server's memory with all of them, in bytes (Pss).
        bytes_with: u64,
    },
}

/// The resources that a server and this process used in a period.
#[derive(Debug, Serialize)]
pub struct Usage {
    seconds: f64,
    user_seconds: f64,
    system_seconds: f64,
    generator_cores: f64,
}

impl From<Spent> for Usage {
    fn from(spent: Spent) -> Self {
        Self {
            seconds: spent.wall.as_secs_f64(),
            user_seconds: spent.server.user.as_secs_f64(),
            system_seconds: spent.server.system.as_secs_f64(),
            generator_cores: spent.generator_cores(),
        }
    }
}

/// The deliveries of published messages.
#[derive(Debug, Serialize)]
pub struct Traffic {
    deliveries: u64,
    /// The bytes that the receivers read in that time.
    bytes: u64,
    #[serde(flatten)]
    usage: Usage,
    /// The percentiles of the time from the due time of a publication to its receipt, in microseconds.
    latency_us: Percentiles,
    // These count the whole run, with its warm-up.
    published: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    stopped: Option<String>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Percentiles {
    #[allow(clippy::cast_precision_loss, reason = "it is rounded to a few digits anyway")]
    fn of(nanos: &Histogram<u64>) -> Self {
        let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: micros(0.5),
            p90: micros(0.9),
            p99: micros(0.99),
            p999: micros(0.999),
            max: micros(1.0),
        }
    }
}

/// Runs `plan`.
///
/// # Errors
/// If the server is not available, or does not accept the clients of the plan.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let publishers = plan.publishers.as_ref().map_or(0, |script| script.count);
    block_on(plan.clients.count + publishers, measure(plan))
}

async fn measure(plan: &Plan) -> Result<Outcome, String> {
    let length = Duration::try_from_secs_f64(plan.seconds).map_err(|error| format!("seconds: {error}"))?;
    let upgrades = plan.clients.upgrades(plan.address)?;
    let (work, count, seconds) = (plan.work.name(), plan.clients.count, plan.seconds);
    eprintln!("{work}: {count} clients, {seconds} s");
    match plan.work {
        Work::Handshakes => {
            let done = handshakes::measure(plan.address, plan.pid, upgrades, length).await?;
            Ok(Outcome::Handshakes {
                handshakes: done.count,
                usage: done.spent.into(),
            })
        }
        Work::Idle => {
            let warm_up = &upgrades[..upgrades.len().min(WARM_UP)];
            Receivers::upgrade(plan.address, warm_up).await?.close().await;
            let before = settled(plan.pid).await?;
            let receivers = Receivers::upgrade(plan.address, &upgrades).await?;
            let with = settled(plan.pid).await?;
            receivers.close().await;
            Ok(Outcome::Idle {
                connections: upgrades.len(),
                bytes_before: before.pss,
                bytes_with: with.pss,
            })
        }
        Work::Traffic { addressed, pace } => {
            let publishers = plan.publishers.as_ref().ok_or("the plan has no publishers")?;
            let done = traffic::measure(plan, &upgrades, publishers, addressed, pace, length).await?;
            Ok(Outcome::Traffic(done))
        }
    }
}
