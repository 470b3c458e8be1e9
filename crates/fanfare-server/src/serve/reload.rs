//! Reads the configuration again at SIGHUP: certificates, keys, access rules, API keys and the log level. What else differs
//! needs a restart, and is named.

use std::sync::Arc;

use fanfare_accounts::Accounts;
use fanfare_engine::Node;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use super::{
    Purpose, accounts,
    doors::{self, OpenDoor, Serving},
    prepare::{self, Prepared},
    redis_door,
};
use crate::{
    auth::Gate,
    causes::Causes,
    config::{self, Config, ConfigErrors, Listener, Loaded, Problem, Sources, Tls},
    http::{Door, Site},
    resp,
    telemetry::LogFilter,
};

/// The keys that are applied, besides the files of certificates and what dialects add to the access rules' defaults.
const APPLIED: [&str; 11] = [
    "api.keys",
    "auth.algorithms",
    "auth.audience",
    "auth.issuer",
    "auth.jwks_url",
    "auth.jwt_secret",
    "auth.jwt_secret_file",
    "auth.public_key_file",
    "channel",
    "log.level",
    "resp.password",
];

/// What a server starts with.
pub struct Start {
    /// The configuration.
    pub loaded: Loaded,
    /// What it was loaded from.
    pub sources: Sources,
    /// The log's filter, unless it is to stay as it is.
    pub log: Option<LogFilter>,
}

/// The signals that do not end a server.
pub(super) struct Signals {
    hangup: Signal,
    user: [Signal; 2],
}

impl Signals {
    pub(super) fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            user: [
                listen(SignalKind::user_defined1())?,
                listen(SignalKind::user_defined2())?,
            ],
        })
    }
}

/// A running server, as far as its configuration can be read again.
pub(super) struct Reload {
    start: Start,
    node: Arc<Node>,
    gate: Arc<Gate>,
    accounts: Accounts,
    /// Each with its listener at the start.
    sites: Vec<(Listener, Arc<Site>)>,
    redis_doors: Vec<Arc<resp::Door>>,
}

impl Reload {
    pub(super) fn new(start: Start, serving: &Serving<'_>, doors: &[OpenDoor]) -> Self {
        let listeners = &start.loaded.config.listener;
        let site = |door: &OpenDoor| match &door.door {
            Door::Http(site) => Some((listeners.get(door.listener?)?.clone(), site.clone())),
            Door::Resp(..) => None,
        };
        let redis_door = |door: &OpenDoor| match &door.door {
            Door::Http(_) => None,
            Door::Resp(door, _) => Some(door.clone()),
        };
        Self {
            sites: doors.iter().filter_map(site).collect(),
            redis_doors: doors.iter().filter_map(redis_door).collect(),
            node: serving.node.clone(),
            gate: serving.gate.clone(),
            accounts: serving.accounts.clone(),
            start,
        }
    }

    /// Obeys the signals for ever.
    pub(super) async fn follow(self, mut signals: Signals) {
        let [user1, user2] = &mut signals.user;
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => self.read_again().await,
                _ = user1.recv() => tracing::debug!("SIGUSR1 does nothing"),
                _ = user2.recv() => tracing::debug!("SIGUSR2 does nothing"),
            }
        }
    }

    async fn read_again(&self) {
        if self.node.is_draining() {
            tracing::info!("the server drains; the configuration is not read again");
            return;
        }
        match self.prepare() {
            Ok((loaded, prepared)) => {
                self.apply(&loaded, prepared).await;
                for warning in &loaded.warnings {
                    tracing::warn!("configuration: {warning}");
                }
                self.name_what_stays(&loaded);
                tracing::info!(
                    "configuration read again: certificates, keys, access rules, API keys, log level"
                );
            }
            Err(errors) => {
                for problem in &errors.problems {
                    tracing::error!("configuration: {problem}");
                }
                tracing::error!(
                    errors = errors.problems.len(),
                    "the configuration cannot be used; nothing is changed"
                );
            }
        }
    }

    /// Builds everything before anything is replaced.
    fn prepare(&self) -> Result<(Loaded, Prepared), ConfigErrors> {
        let mut loaded = config::load(&self.start.sources, &super::dialect_infos())?;
        // The policy and the verifier are made of some settings that the rest of the server keeps.
        let started = &self.start.loaded.config;
        let problems = what_would_open(started, &loaded);
        if !problems.is_empty() {
            return Err(ConfigErrors { problems });
        }
        let wanted = loaded.clone();
        loaded.config.authorizer.clone_from(&started.authorizer);
        loaded.config.auth.leeway = started.auth.leeway;
        loaded.config.data_dir.clone_from(&started.data_dir); // the secret's
        let prepared = prepare::prepare(&loaded, Purpose::Serve)?;
        Ok((wanted, prepared))
    }

    async fn apply(&self, loaded: &Loaded, prepared: Prepared) {
        let Prepared {
            keys, policy, tls, ..
        } = prepared;
        let config = &loaded.config;
        let verifier = Arc::new(keys.verifier);
        let fetched = verifier.refresh_jwks().await;
        if self.gate.replace_verifier(verifier) {
            self.accounts
                .replace_signing(accounts::options(config, keys.secret).signing);
        } else if let Err(error) = fetched {
            let error = Causes(&error);
            tracing::error!(%error, "the key set cannot be fetched; the keys stay as they are");
        }
        self.gate.replace_wanted_claims(policy.wanted_claims());
        self.node.access.replace_policy(policy);
        let certificates = config.listener.iter().zip(&tls);
        for (listener, tls) in certificates.filter_map(|(listener, tls)| Some((listener, tls.as_ref()?))) {
            self.replace_certificate(listener, tls);
        }
        for (_, site) in &self.sites {
            site.replace_api_keys(doors::api_keys(config));
        }
        for door in &self.redis_doors {
            door.replace_secrets(redis_door::secrets(config));
        }
        if let Some(log) = &self.start.log {
            match log.replace(&loaded.log_filter) {
                Ok(()) => {
                    for (_, site) in &self.sites {
                        site.report_log_level(config.log.level.name());
                    }
                }
                Err(error) => tracing::error!(error, "the log level stays as it is"),
            }
        }
    }

    /// A listener is known by its address.
    fn replace_certificate(&self, listener: &Listener, tls: &TlsAcceptor) {
        for (started, site) in &self.sites {
            if started.bind == listener.bind {
                site.replace_certificate(tls);
            }
        }
    }

    /// Logs which keys differ from those that the server started with and are not applied.
    fn name_what_stays(&self, loaded: &Loaded) {
        let stays = what_stays(&self.start.loaded, loaded);
        if !stays.is_empty() {
            tracing::warn!(
                "configuration: what differs in {} needs a restart",
                stays.join(", ")
            );
        }
    }
}

/// What the new secrets would open beside settings that stay as they are until a restart. The checks of the configuration
/// have judged them beside the new settings.
fn what_would_open(started: &Config, loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let has_no_key = config.api.keys.is_empty();
    let is_door_reached = started.resp.bind.is_some_and(|bind| !bind.is_loopback());
    let mut problems = Vec::new();
    if is_door_reached && has_no_key && config.resp.password.is_none() {
        let text = "found none, expected a password (or api.keys) until a restart: the Redis-protocol door keeps the address \
                    of the start, where anybody could publish";
        problems.push(loaded.problem("resp.password", text));
    }
    let is_trusting = started.api.trust_loopback && !config.api.trust_loopback;
    if is_trusting && has_no_key && !started.api.keys.is_empty() {
        let text = "found none, expected a key until a restart: api.trust_loopback stays as it was at the start, and any \
                    program on this machine could use the API";
        problems.push(loaded.problem("api.keys", text));
    }
    problems
}

fn what_stays<'a>(started: &'a Loaded, loaded: &'a Loaded) -> Vec<&'a str> {
    let is_of_policy = |key: &str| {
        let (table, option) = key.split_once('.').unwrap_or_default();
        let kind = fanfare_dialects::find(table);
        kind.is_some_and(|(_, kind)| kind.policy_options().contains(&option))
    };
    let is_applied = |key: &str| match key {
        "listener" => without_files(started) == without_files(loaded),
        key => APPLIED.contains(&key) || is_of_policy(key),
    };
    started
        .changed_keys(loaded)
        .filter(|key| !is_applied(key))
        .collect()
}

/// The listeners, whatever their certificates are.
fn without_files(loaded: &Loaded) -> Vec<Listener> {
    let strip = |listener: &Listener| Listener {
        tls: listener.tls.as_ref().map(|_| Tls {
            cert: "".into(),
            key: "".into(),
        }),
        ..listener.clone()
    };
    loaded.config.listener.iter().map(strip).collect()
}
