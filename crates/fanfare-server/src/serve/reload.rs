//! Reloads the configuration, at SIGHUP or for a caller of the service API. Settings that need no restart are replaced, all or none;
//! the others are reported.

use std::sync::Arc;

use fanfare_engine::DialectSettings;
use tokio::signal::unix::SignalKind;

use super::{
    Purpose, accounts,
    doors::{self, OpenDoor, Serving},
    keys,
    prepare::{self, Prepared},
    redis_door,
    reload_changes::{Changes, FileContents, risks_until_restart},
    settings,
    shutdown::Signals,
    supervisor,
};
use crate::{
    causes::Causes,
    config::{self, Config, ConfigErrors, Listener, Loaded, Problem, Sources},
    http::{Door, ReloadMode, ReloadReport, ReloadRequest, ReloadRequests, Site},
    report::NodeReport,
    resp,
    telemetry::LogFilter,
};

/// SIGHUP reloads. The others would end the process if it did not listen for them.
pub(super) const SIGNALS: [SignalKind; 3] = [
    SignalKind::hangup(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
];

/// The arguments of a server's start.
pub struct Start {
    /// The configuration.
    pub loaded: Loaded,
    /// The sources of the configuration.
    pub sources: Sources,
    /// The log's filter; `None` if a reload must not change it.
    pub log: Option<LogFilter>,
}

/// The parts of a running server that a reload changes.
pub(super) struct Reloader {
    start: Start,
    /// The last applied configuration.
    in_force: Loaded,
    files: FileContents,
    serving: Serving,
    report: Arc<NodeReport>,
    /// Each with its listener at the start.
    sites: Vec<(Listener, Arc<Site>)>,
    redis_doors: Vec<Arc<resp::RedisDoor>>,
}

/// A configuration that is ready to be applied.
struct Staged {
    loaded: Loaded,
    files: FileContents,
    /// The configuration to apply: a key that needs a restart has its value of the start.
    config: Config,
    parts: Prepared,
    dialects: Vec<DialectSettings>,
}

impl Reloader {
    pub(super) fn new(start: Start, serving: Serving, report: Arc<NodeReport>, doors: &[OpenDoor]) -> Self {
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
            in_force: start.loaded.clone(),
            files: FileContents::read(&start.loaded.config),
            sites: doors.iter().filter_map(site).collect(),
            redis_doors: doors.iter().filter_map(redis_door).collect(),
            serving,
            report,
            start,
        }
    }

    /// Reloads at the first of [`SIGNALS`] and for callers; one at a time, for ever.
    pub(super) async fn follow(mut self, mut signals: Signals, mut requests: ReloadRequests) {
        loop {
            tokio::select! {
                signal = signals.next() => {
                    if signal > 0 {
                        tracing::debug!("SIGUSR{signal} does nothing");
                        continue;
                    }
                    supervisor::reloading();
                    drop(self.reload(ReloadMode::Apply).await); // it is logged
                    if !self.serving.node.is_draining() {
                        supervisor::ready();
                    }
                }
                Some(ReloadRequest { mode, reply }) = requests.recv() => {
                    let outcome = self.reload(mode).await;
                    let _ = reply.send(outcome); // the caller may have gone
                }
            }
        }
    }

    /// Reloads, and logs the outcome; a dry run does neither.
    async fn reload(&mut self, mode: ReloadMode) -> Result<ReloadReport, Vec<String>> {
        if self.serving.node.is_draining() {
            let text = "the server drains; the configuration is not read again";
            tracing::info!("{text}");
            return Err(vec![text.to_owned()]);
        }
        let staged = match self.stage().await {
            Ok(staged) => staged,
            Err(errors) => {
                let problems: Vec<_> = errors.problems.iter().map(Problem::to_string).collect();
                if mode == ReloadMode::Apply {
                    self.serving.upkeep.reloads.note(false);
                    log_refusal(&problems);
                }
                return Err(problems);
            }
        };
        let changes = Changes {
            start: &self.start.loaded,
            in_force: (&self.in_force, &self.files),
            wanted: (&staged.loaded, &staged.files),
        };
        let needing_restart = changes.needing_restart();
        let needs_restart = needing_restart.iter().map(|key| staged.loaded.set_by(key));
        let report = ReloadReport {
            applied: mode == ReloadMode::Apply,
            file: staged.loaded.file.as_ref().map(|file| file.display().to_string()),
            changed: changes.applied(),
            needs_restart: needs_restart.collect(),
            warnings: staged.loaded.warnings.iter().map(Problem::to_string).collect(),
        };
        if report.applied {
            let shown = staged.loaded.clone();
            let shown = shown.keeping(&self.start.loaded, &needing_restart);
            self.report.replace_configuration(shown);
            self.apply(staged);
            self.serving.upkeep.reloads.note(true);
            log_report(&report);
        }
        Ok(report)
    }

    async fn stage(&self) -> Result<Staged, ConfigErrors> {
        let started = &self.start.loaded.config;
        let loaded = config::load(&self.start.sources, started.registry)?;
        let problems = risks_until_restart(started, &loaded);
        if !problems.is_empty() {
            return Err(ConfigErrors { problems });
        }
        let mut effective = loaded.clone();
        keep_until_restart(&mut effective.config, started);
        let files = FileContents::read(&effective.config);
        let parts = prepare::prepare(&effective, Purpose::Reload)?;
        let fetched = self.serving.gate.prepare_verifier(&parts.keys.verifier).await;
        fetched.map_err(|error| {
            let text = "the key set cannot be fetched; the keys stay as they are";
            let problem = loaded.problem("auth.jwks_url", format!("{text}: {}", Causes(&error)));
            ConfigErrors {
                problems: vec![problem],
            }
        })?;
        let config = effective.config;
        let dialect = |kind| settings::settings(&config, &settings::configured(&config, kind));
        Ok(Staged {
            dialects: config.registry.iter().map(dialect).collect(),
            loaded,
            files,
            config,
            parts,
        })
    }

    /// Applies a staged configuration. Nothing here waits or fails.
    fn apply(&mut self, staged: Staged) {
        let Staged { config, parts, .. } = staged;
        let serving = &mut self.serving;
        let rules = keys::token_rules(&config, parts.keys.verifier, &parts.policy);
        serving.gate.replace_rules(rules);
        serving.gate.replace_api_keys(keys::api_keys(&config));
        let options = accounts::options(&config, parts.keys.secret);
        serving.accounts.replace_options(options);
        serving.node.access.replace_policy(parts.policy);
        for (mounted, settings) in serving.node.dialects.iter().zip(staged.dialects) {
            mounted.replace_settings(settings);
        }
        // The buckets are kept as long as their limits are the same.
        if doors::rates(&config.limits) != doors::rates(&self.in_force.config.limits) {
            serving.rate_limits = doors::rate_limits(&config.limits);
        }
        for (started, site) in &self.sites {
            // A listener is identified by its address. If it is no longer in the file, or its certificate has another source now, it
            // keeps its certificate.
            let mut listeners = config.listener.iter().zip(&parts.tls);
            let own = listeners.find(|(own, _)| own.bind == started.bind && started.tls.is_some());
            let renewed = own.and_then(|(_, tls)| tls.as_ref());
            doors::note_certificate(&serving.upkeep, started, renewed);
            let tls = renewed.map_or_else(|| site.rules().tls.clone(), |tls| Some(tls.acceptor.clone()));
            site.replace_rules(doors::rules(&config, &serving.rate_limits, tls));
        }
        // A stream that an API key opened ends with the key.
        serving.node.end_revoked();
        for door in &self.redis_doors {
            door.replace_login(redis_door::login(&config));
        }
        if let Some(log) = &self.start.log
            && let Err(error) = log.replace(&staged.loaded.log_filter)
        {
            tracing::error!(error, "the log level stays as it is"); // the log itself has ended
        }
        (self.in_force, self.files) = (staged.loaded, staged.files);
    }
}

/// Resets the keys that need a restart and are used here to their values of the start.
fn keep_until_restart(config: &mut Config, started: &Config) {
    config.authorizer.clone_from(&started.authorizer);
    config.auth.leeway = started.auth.leeway;
    config.data_dir.clone_from(&started.data_dir); // the secret's
    for (name, dialect) in &mut config.dialects {
        // A shorter timeout would end clients that use the longer interval.
        if let Some(started) = started.dialects.get(name) {
            dialect.ping_interval = started.ping_interval;
            dialect.ping_timeout = started.ping_timeout;
        }
    }
}

fn log_refusal(problems: &[String]) {
    for problem in problems {
        tracing::error!("configuration: {problem}");
    }
    tracing::error!(
        errors = problems.len(),
        "the configuration cannot be used; nothing is changed"
    );
}

fn log_report(report: &ReloadReport) {
    for warning in &report.warnings {
        tracing::warn!("configuration: {warning}");
    }
    if !report.needs_restart.is_empty() {
        tracing::warn!(
            "configuration: what differs in {} needs a restart",
            report.needs_restart.join(", ")
        );
    }
    let changed = match &report.changed[..] {
        [] => "nothing".to_owned(),
        changed => changed.join(", "),
    };
    tracing::info!("configuration read again; changed: {changed}");
}
