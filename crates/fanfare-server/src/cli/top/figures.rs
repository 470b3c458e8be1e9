//! The figures of `fanfare top`: two samples of all nodes' figures, and the connections with the most waiting messages.

use std::time::Instant;

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    cli::{CommandFailure, remote::RemoteApi},
    report::NodeFigures,
};

#[derive(Default)]
pub(super) struct Figures {
    pub(super) last: Option<Sample>,
    before: Option<Sample>,
    /// The reason why the last sample failed.
    pub(super) error: Option<String>,
}

pub(super) struct Sample {
    at: Instant,
    pub(super) overview: Overview,
    /// Those with the most waiting messages first.
    pub(super) connections: Vec<Waiting>,
}

#[derive(Deserialize)]
pub(super) struct Overview {
    pub(super) nodes: Vec<NodeFigures>,
    #[serde(default)]
    pub(super) degraded: bool,
}

#[derive(Deserialize)]
struct Connections {
    connections: Vec<Waiting>,
}

#[derive(Deserialize)]
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) dialect: String,
    pub(super) user: Option<String>,
    pub(super) address: String,
    pub(super) details: WaitingDetails,
}

#[derive(Deserialize)]
pub(super) struct WaitingDetails {
    pub(super) queued: u64,
    pub(super) queued_bytes: u64,
    pub(super) subscription_count: u64,
}

pub(super) async fn sample(api: &RemoteApi<'_>) -> Result<Sample, CommandFailure> {
    let connections = "/api/v1/connections?sort=queued&details=true&subscriptions=0&limit=50";
    let (overview, connections) =
        tokio::try_join!(get(api, "/api/v1/overview"), get::<Connections>(api, connections))?;
    Ok(Sample {
        at: Instant::now(),
        overview,
        connections: connections.connections,
    })
}

async fn get<T: DeserializeOwned>(api: &RemoteApi<'_>, path: &str) -> Result<T, CommandFailure> {
    let bad = |error| format!("the answer is not understood: {error}");
    Ok(serde_json::from_str(&api.get(path).await?).map_err(bad)?)
}

impl Figures {
    /// Takes another sample; if that fails, the figures stay as they are, with the reason.
    pub(super) async fn update(&mut self, api: &RemoteApi<'_>) {
        match sample(api).await {
            Ok(sample) => self.add(sample),
            Err(CommandFailure::Usage(error) | CommandFailure::Runtime(error)) => self.error = Some(error),
        }
    }

    pub(super) fn add(&mut self, sample: Sample) {
        self.before = self.last.replace(sample);
        self.error = None;
    }

    /// Returns the growth of `counter` per second between the last two samples; `None` with one sample, or for a new
    /// node.
    pub(super) fn rate(&self, node: &NodeFigures, counter: impl Fn(&NodeFigures) -> u64) -> Option<f64> {
        let (last, before) = (self.last.as_ref()?, self.before.as_ref()?);
        let then = before.overview.nodes.iter().find(|other| other.id == node.id)?;
        let grown = counter(node).saturating_sub(counter(then));
        #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
        Some(grown as f64 / (last.at - before.at).as_secs_f64().max(0.001))
    }
}

#[cfg(test)]
impl Sample {
    /// Returns the figures of a server's answers, `seconds` after `start`.
    pub(super) fn of(
        start: Instant,
        seconds: u64,
        overview: serde_json::Value,
        connections: serde_json::Value,
    ) -> Self {
        fn read<T: DeserializeOwned>(value: serde_json::Value) -> T {
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
        }
        Self {
            at: start + std::time::Duration::from_secs(seconds),
            overview: read(overview),
            connections: read(connections),
        }
    }
}
