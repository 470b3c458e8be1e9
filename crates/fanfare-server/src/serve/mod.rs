//! The composition root: from a configuration to a running server, and to its end.

mod accounts;
mod data_lock;
mod descriptors;
mod doors;
mod exposure;
mod greeting;
mod keys;
mod prepare;
mod redis_door;
mod reload;
mod reload_changes;
mod settings;
mod shutdown;
mod supervisor;
mod threads;

use std::{sync::Arc, time::Duration};

use doors::Serving;
use exposure::Exposure;
use fanfare_accounts::{Accounts, KeyNeed};
use fanfare_core::{BrokerHealth, policy::AccessControl};
use fanfare_engine::{Clock, Node, NodeOptions, ShardCommands, ShardHandle};
use fanfare_transports::{BrokerOptions, ClusterOptions};
use opentelemetry_otlp::SpanExporter;
use shutdown::Signals;

use crate::{
    auth::Gate,
    config::{Config, ConfigErrors},
    http::{Readiness, ReloadHandle},
    otlp::{self, Exporting},
    report::NodeReport,
    upkeep::Upkeep,
};

pub use accounts::explained as explained_storage_error;
pub use accounts::options as accounts_options;
use keys::Purpose;
pub use keys::secret;
pub use prepare::check;
use reload::Reloader;
pub use reload::Start;
pub(crate) use settings::{dialects, policy};

const BROKER_PATIENCE: Duration = Duration::from_secs(2);
/// The first pause before the health of an unavailable broker is checked again.
const BROKER_RETRY: Duration = Duration::from_millis(20);
/// The time limit for closing the broker at the server's end; it needs at most five seconds.
const BROKER_CLOSE_TIMEOUT: Duration = Duration::from_secs(6);

/// Runs the server until a signal stops it; `again` calls this binary with the same configuration.
///
/// # Errors
/// If it cannot start.
pub fn run(start: Start, again: &str) -> Result<(), RunError> {
    // The control thread runs everything but connections: the broker, key refreshes, signals.
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
    control
        .map_err(|error| format!("cannot start: {error}"))?
        .block_on(run_on_control(start, again))
}

/// The reason why a server did not run to a clean end.
#[derive(Debug)]
pub enum RunError {
    /// The configuration has a value that is not usable.
    Configuration(ConfigErrors),
    /// Anything else, as a text.
    Runtime(String),
}

impl From<String> for RunError {
    fn from(text: String) -> Self {
        Self::Runtime(text)
    }
}

async fn run_on_control(start: Start, again: &str) -> Result<(), RunError> {
    let signals = Signals::listen(&shutdown::SIGNALS)?;
    let reload_signals = Signals::listen(&reload::SIGNALS)?;
    let loaded = start.loaded.clone();
    let config = &loaded.config;
    let shards = shard_count(config);
    descriptors::raise(config, shards);
    let _held_to_the_end = data_lock::lock(&config.data_dir)?;
    let prepared = prepare::prepare(&loaded, Purpose::Serve).map_err(RunError::Configuration)?;
    let (keys, policy) = (prepared.keys, prepared.policy);
    // The first tokens need the keys. An unavailable provider delays the start once; the refreshing task logs it.
    let _ = keys.verifier.refresh_jwks().await;

    let accounts = accounts::open(config, prepared.storage, keys.secret).await?;
    let rules = keys::token_rules(config, keys.verifier, &policy);
    let gate = Arc::new(Gate::new(rules).with_accounts(accounts.clone()));
    gate.replace_api_keys(keys::api_keys(config));
    let refreshing = gate.spawn_refresh();
    let access = AccessControl::new(policy, prepared.authorizer.map(|webhook| webhook as _));
    let node = node(config, gate.clone(), access);
    let commands = attach(&node, config, shards)?;
    let upkeep = Arc::<Upkeep>::default();
    let report = NodeReport::new(&node, accounts.clone(), upkeep.clone(), loaded.clone());
    let _ = node.reporter.set(report.clone()); // nothing else sets it
    let sampling = report.spawn_sampling();
    let exporting = prepared.exporter.map(|exporter| trace(config, exporter, &node));
    let rate_limits = doors::rate_limits(&config.limits);
    let (reload, reload_requests) = ReloadHandle::channel();
    let readiness = Readiness::new(config.server.broker_grace);
    let following = accounts::spawn_tasks(&accounts, &node);
    let serving = Serving {
        node: node.clone(),
        gate,
        accounts: accounts.clone(),
        rate_limits,
        reload,
        readiness: readiness.clone(),
        upkeep: upkeep.clone(),
    };
    let doors = doors::open(&loaded, prepared.tls, prepared.acme.as_ref(), &serving, shards)?;
    let listening: Vec<_> = doors.iter().map(|door| door.listening.clone()).collect();
    let reload = Reloader::new(start, serving, report, &doors);
    reach_broker(node.clone(), readiness).await;
    let threads = threads::start(&node, commands, doors)?;
    greeting::log(&listening);
    warn_of_exposure(config, &accounts);
    let reloading = tokio::spawn(reload.follow(reload_signals, reload_requests));
    spawn_ticks(&node);
    drop(prepared.acme.map(|acme| tokio::spawn(acme.keep(upkeep))));
    greeting::print(&loaded, &listening, keys.generated.as_deref(), again);
    supervisor::ready();
    tokio::spawn(supervisor::notify_watchdog(node.clone()));

    let ended = shutdown::wait(signals, &node, &config.shutdown).await;
    reloading.abort();
    threads.stop();
    close_broker(&node).await;
    let tasks = [refreshing, sampling].into_iter().chain(following);
    tasks.for_each(|task| task.abort());
    accounts.storage().close().await;
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    Ok(ended?)
}

/// Makes the node, without its shards and its broker.
fn node(config: &Config, gate: Arc<Gate>, access: AccessControl) -> Arc<Node> {
    Node::new(NodeOptions {
        dialects: dialects(config),
        authenticator: gate,
        access,
        clock: Clock::system(),
        observe: config.observe,
        max_fan_out_receivers: config.limits.max_fan_out_receivers,
    })
}

/// Starts the ticks of the dialects. They run on the control thread and end with it.
fn spawn_ticks(node: &Arc<Node>) {
    for mounted in &node.dialects {
        tokio::spawn(node.clone().tick(mounted.clone()));
    }
}

/// Records the node's spans, and sends them with `exporter`.
fn trace(config: &Config, exporter: SpanExporter, node: &Node) -> Exporting {
    let (recorder, exporting) = otlp::start(&config.telemetry.otlp, exporter, node.id);
    let _ = node.span_recorder.set(Arc::new(recorder)); // nothing else sets it
    exporting
}

/// Opens the broker, and attaches it and the shards to the node. Returns the shards' commands.
fn attach(node: &Arc<Node>, config: &Config, shards: usize) -> Result<Vec<ShardCommands>, String> {
    let options = BrokerOptions {
        node: ClusterOptions {
            node_id: node.id.simple().to_string(),
            max_remembered_ids: config.broker.max_remembered_ids,
            max_listed_members: config.limits.max_listed_members,
            max_known_members: config.limits.max_known_members,
            max_watched: config.history.max_watched,
            max_fetched: config.history.max_fetched,
            ..ClusterOptions::default()
        },
        max_history_bytes: config.history.max_bytes.0,
        max_journals: config.history.max_journals,
        ..config.broker.options()
    };
    let broker = fanfare_transports::open(config.broker.kind, &options, node.clone())
        .map_err(|error| error.to_string())?;
    let (handles, commands) = (0..shards).map(|_| ShardHandle::channel()).unzip();
    node.attach(handles, broker);
    Ok(commands)
}

fn warn_of_exposure(config: &Config, accounts: &Accounts) {
    let exposure = Exposure {
        config,
        issues_tokens: accounts.issues_tokens(),
        has_keys: accounts.key_need() == KeyNeed::Yes,
    };
    exposure.warn();
}

/// Waits for the broker's first answer, up to [`BROKER_PATIENCE`]: a client that is accepted earlier would miss events from
/// other nodes and programs. The addresses are bound already, so clients wait and are not refused. Readiness depends on the
/// answer, so a later one is also noted.
async fn reach_broker(node: Arc<Node>, readiness: Arc<Readiness>) {
    let answered = tokio::spawn(async move {
        let mut pause = BROKER_RETRY;
        while matches!(node.broker().health().await, BrokerHealth::Disconnected { .. }) {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(BROKER_PATIENCE);
        }
        readiness.broker_answered();
    });
    let _ = tokio::time::timeout(BROKER_PATIENCE, answered).await;
}

async fn close_broker(node: &Node) {
    let left = tokio::time::timeout(BROKER_CLOSE_TIMEOUT, node.broker().close());
    if left.await.is_err() {
        tracing::warn!("the broker has not confirmed that this node left the cluster");
    }
}

fn shard_count(config: &Config) -> usize {
    let wanted = match config.server.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    wanted.clamp(1, 64) // a set of shards is an u64
}
