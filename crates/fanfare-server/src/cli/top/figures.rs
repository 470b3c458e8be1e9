//! What `fanfare top` shows: two looks at all nodes' figures, and the connections with the most waiting messages.

use std::time::{Duration, Instant};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{causes::Causes, cli::CommandFailure, report::NodeFigures};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The service API of a server.
pub(super) struct FigureSource {
    client: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// The figures as they are known.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) last: Option<Look>,
    before: Option<Look>,
    /// Why the last look failed.
    pub(super) error: Option<String>,
}

/// The figures at one moment.
pub(super) struct Look {
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

/// A connection.
#[derive(Deserialize)]
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) dialect: String,
    pub(super) user: Option<String>,
    pub(super) address: String,
    pub(super) details: WaitingDetails,
}

/// More about a connection.
#[derive(Deserialize)]
pub(super) struct WaitingDetails {
    pub(super) queued: u64,
    pub(super) queued_bytes: u64,
    pub(super) subscription_count: u64,
}

impl FigureSource {
    pub(super) fn new(url: String, key: Option<String>) -> Result<Self, CommandFailure> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build();
        let client = client.map_err(|error| CommandFailure::Runtime(unreachable(error)))?;
        Ok(Self { client, url, key })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let mut request = self.client.get(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_str(&text)
                .map_err(|error| format!("the answer is not understood: {error}"));
        }
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = said["error"]["message"].as_str().unwrap_or("no reason given");
        Err(format!("the server answered {status}: {reason}"))
    }

    async fn look(&self) -> Result<Look, String> {
        let connections = "/connections?sort=queued&details=true&subscriptions=0&limit=50";
        let (overview, connections) =
            tokio::try_join!(self.get("/overview"), self.get::<Connections>(connections))?;
        Ok(Look {
            at: Instant::now(),
            overview,
            connections: connections.connections,
        })
    }
}

fn unreachable(error: reqwest::Error) -> String {
    let error = error.without_url(); // the URL may contain a password
    format!("cannot reach the server: {}", Causes(&error))
}

impl Figures {
    /// Takes a first look.
    pub(super) async fn look(&mut self, source: &FigureSource) -> Result<(), CommandFailure> {
        self.add(source.look().await.map_err(CommandFailure::Runtime)?);
        Ok(())
    }

    /// Takes another look; if that fails, the figures stay as they are and say why.
    pub(super) async fn look_again(&mut self, source: &FigureSource) {
        match source.look().await {
            Ok(look) => self.add(look),
            Err(error) => self.error = Some(error),
        }
    }

    pub(super) fn add(&mut self, look: Look) {
        self.before = self.last.replace(look);
        self.error = None;
    }

    /// How fast `counter` grew in a second between the last two looks; `None` with one look, or for a node that is new.
    pub(super) fn rate(&self, node: &NodeFigures, counter: impl Fn(&NodeFigures) -> u64) -> Option<f64> {
        let (last, before) = (self.last.as_ref()?, self.before.as_ref()?);
        let then = before.overview.nodes.iter().find(|other| other.id == node.id)?;
        let grown = counter(node).saturating_sub(counter(then));
        #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
        Some(grown as f64 / (last.at - before.at).as_secs_f64().max(0.001))
    }
}

#[cfg(test)]
impl Look {
    /// Figures as a server would answer, `seconds` after `start`.
    pub(super) fn of(start: Instant, seconds: u64, overview: Value, connections: Value) -> Self {
        fn read<T: DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
        }
        Self {
            at: start + Duration::from_secs(seconds),
            overview: read(overview),
            connections: read(connections),
        }
    }
}
