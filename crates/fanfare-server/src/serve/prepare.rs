//! Builds the parts of a server that depend only on the configuration, without connecting or binding an address. `fanfare config check`
//! and `fanfare serve` use it.

use std::sync::Arc;

use fanfare_accounts::storage::Storage;
use fanfare_core::policy::Policy;
use fanfare_transports::OpenError;
use opentelemetry_otlp::SpanExporter;

use super::{
    keys::{self, Keys, Purpose},
    settings,
};
use crate::{
    access::Webhook,
    acme::AcmeCertificate,
    config::{ConfigErrors, Listener, Loaded, Problem},
    http::{self, LoadedTls},
    otlp,
};

pub(super) struct Prepared {
    pub(super) keys: Keys,
    pub(super) policy: Policy,
    pub(super) authorizer: Option<Arc<Webhook>>,
    pub(super) storage: Storage,
    /// Sends spans to the collector; `None` if the configuration names no collector.
    pub(super) exporter: Option<SpanExporter>,
    /// For each listener, in their order; `None` for one without files of its own.
    pub(super) tls: Vec<Option<LoadedTls>>,
    pub(super) acme: Option<AcmeCertificate>,
}

/// Finds the errors that would prevent a start, and changes nothing. Call it in a runtime.
///
/// # Errors
/// Every setting whose value is not usable.
pub fn check(loaded: &Loaded) -> Result<(), ConfigErrors> {
    prepare(loaded, Purpose::Check).map(drop)
}

/// Builds the parts, or returns every setting whose value is not usable. Call it in a runtime, which then drives them.
pub(super) fn prepare(loaded: &Loaded, purpose: Purpose) -> Result<Prepared, ConfigErrors> {
    let config = &loaded.config;
    let mut problems = Vec::new();
    let keys = noted(keys::load(loaded, purpose), &mut problems);
    let authorizer = settings::authorizer(config).map_err(|text| loaded.problem("authorizer.url", text));
    let authorizer = noted(authorizer, &mut problems);
    let storage = Storage::new(&config.storage.url, config.storage.max_connections)
        .map_err(|error| loaded.problem("storage.url", error.to_string()));
    let storage = noted(storage, &mut problems);
    let broker = fanfare_transports::check(config.broker.kind, &config.broker.options());
    noted(
        broker.map_err(|error| broker_problem(loaded, &error)),
        &mut problems,
    );
    let exporter = otlp::exporter(&config.telemetry.otlp).map_err(|(key, text)| loaded.problem(key, text));
    let exporter = noted(exporter, &mut problems);
    let tls: Vec<_> = (0..)
        .zip(&config.listener)
        .filter_map(|(index, listener)| noted(tls(loaded, index, listener), &mut problems))
        .collect();
    let acme = AcmeCertificate::new(config).map_err(|reason| loaded.problem("acme.ca_file", reason));
    let acme = noted(acme, &mut problems);
    match (keys, authorizer, storage, exporter, acme) {
        (Some(keys), Some(authorizer), Some(storage), Some(exporter), Some(acme)) if problems.is_empty() => {
            Ok(Prepared {
                keys,
                policy: settings::policy(config),
                authorizer,
                storage,
                exporter,
                tls,
                acme,
            })
        }
        _ => {
            problems.sort_by_key(Problem::rank);
            Err(ConfigErrors { problems })
        }
    }
}

fn broker_problem(loaded: &Loaded, error: &OpenError) -> Problem {
    let name = match error {
        OpenError::BadUrl(_) => "url",
        OpenError::BadPrefix => "prefix",
        OpenError::BadSetting { name, .. } => name,
    };
    loaded.problem(&format!("broker.{name}"), error.to_string())
}

fn tls(loaded: &Loaded, index: usize, listener: &Listener) -> Result<Option<LoadedTls>, Problem> {
    let Some(tls) = &listener.tls else {
        return Ok(None);
    };
    let loading = http::load_tls(&tls.cert, &tls.key);
    let problem = |(name, text)| loaded.problem(&format!("listener[{index}].tls.{name}"), text);
    loading.map(Some).map_err(problem)
}

fn noted<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
