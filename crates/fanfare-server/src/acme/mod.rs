//! Certificates from an ACME authority (RFC 8555): obtained by tls-alpn-01 on the listeners that show them, stored in the data folder,
//! and renewed. A listener shows the certificate that it has, even if the authority fails.

mod client;
mod order;
mod resolver;
mod store;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fanfare_core::{format_duration, timestamp};
use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    causes::Causes,
    config::{Acme as Settings, Config},
    http::{self, Validity},
    upkeep::Upkeep,
};
use client::AuthorityClient;
use order::CertificateOrder;
use resolver::Certificates;
use store::Store;

/// The longest time for an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest pause after an order that failed.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// The time between two readings of the clock, which may be set, or stand still while the machine sleeps.
const CHECK_CLOCK_EVERY: Duration = Duration::from_secs(600);
/// A certificate is renewed when this share of its time is over, as authorities recommend.
const RENEWED_AFTER: f64 = 2.0 / 3.0;

/// The reason why there is no certificate.
#[derive(Debug)]
struct AcmeError(String);

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for AcmeError {
    fn from(error: E) -> Self {
        Self(Causes(&error).to_string())
    }
}

/// The certificate of the listeners with `acme = true`.
pub(crate) struct AcmeCertificate {
    settings: Settings,
    listeners: Vec<String>,
    client: AuthorityClient,
    store: Store,
    certificates: Arc<Certificates>,
    validity: Option<Validity>,
    /// A certificate in use that could not be stored.
    unsaved: Option<String>,
}

impl AcmeCertificate {
    /// Returns the stored certificate of `config`; `None` if no listener has `acme = true`. Connects to nothing. Fails if
    /// `acme.ca_file` cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, String> {
        let listeners = config.listener.iter().filter(|listener| listener.acme);
        let listeners: Vec<_> = listeners.map(|listener| listener.bind.to_string()).collect();
        if listeners.is_empty() {
            return Ok(None);
        }
        let settings = config.acme.clone();
        let client = AuthorityClient::new(settings.ca_file.as_deref()).map_err(|reason| {
            let file = settings.ca_file.clone().unwrap_or_default();
            let file = file.display();
            format!("found {file:?}, expected a PEM file with a CERTIFICATE: {reason}")
        })?;
        let mut this = Self {
            listeners,
            client,
            store: Store::new(&config.data_dir, &settings.directory),
            settings,
            certificates: Arc::default(),
            validity: None,
            unsaved: None,
        };
        this.load();
        Ok(Some(this))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        http::acceptor_of(self.certificates.clone())
    }

    /// Obtains a certificate whenever one is due, for ever.
    pub(crate) async fn keep(mut self, upkeep: Arc<Upkeep>) {
        self.report(&upkeep);
        let mut failures = 0;
        loop {
            self.save();
            let wait = self.due_in(SystemTime::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(CHECK_CLOCK_EVERY)).await;
                continue;
            }
            let obtained = self.obtain().await;
            upkeep.orders.note(obtained.is_ok());
            if let Err(error) = obtained {
                let pause = self.pause(failures);
                failures += 1;
                self.log_failure(&error, pause);
                tokio::time::sleep(pause).await;
            } else {
                failures = 0;
                self.report(&upkeep);
                self.save();
                // If the clock is wrong, the new certificate may be due already: that must not use up the authority's limits.
                tokio::time::sleep(self.pause(0)).await;
            }
        }
    }

    /// Shows the stored certificate; if it is for other names, a new one is due at once.
    fn load(&mut self) {
        let Some(stored) = self.store.certificate().transpose() else {
            return;
        };
        match stored.and_then(|pem| certified(&pem)) {
            Ok((certified, validity)) => {
                self.validity = self.covers_names(&certified).then_some(validity);
                self.certificates.replace(certified);
            }
            Err(error) => {
                let file = self.store.certificate_file();
                tracing::warn!(%error, file = %file.display(), "the stored certificate is not used");
            }
        }
    }

    async fn obtain(&mut self) -> Result<(), AcmeError> {
        let order = CertificateOrder {
            settings: &self.settings,
            client: &self.client,
            store: &self.store,
            certificates: &self.certificates,
        };
        let ordered = tokio::time::timeout(ORDER_TIMEOUT, order.run()).await;
        let late = format!("no certificate within {}", format_duration(ORDER_TIMEOUT));
        let pem = ordered.map_err(|_| AcmeError(late))??;
        let (certified, validity) = certified(pem.as_bytes())?;
        self.certificates.replace(certified);
        self.validity = Some(validity);
        self.unsaved = Some(pem);
        Ok(())
    }

    /// Stores the certificate in use, unless it is stored already.
    fn save(&mut self) {
        let Some(pem) = self.unsaved.take() else { return };
        if let Err(error) = self.store.save_certificate(pem.as_bytes()) {
            tracing::error!(%error, "the certificate is in use, and will be lost at the end of this process");
            self.unsaved = Some(pem);
        }
    }

    fn covers_names(&self, certified: &CertifiedKey) -> bool {
        let Some(Ok(parsed)) = certified.cert.first().map(ParsedCertificate::try_from) else {
            return false;
        };
        self.settings.domains.iter().all(|domain| {
            let name = ServerName::try_from(domain.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
    }

    /// Returns the time from `now` until the next order.
    fn due_in(&self, now: SystemTime) -> Duration {
        let Some(Validity { start, end }) = self.validity else {
            return Duration::ZERO;
        };
        let lifetime = end.duration_since(start).unwrap_or_default();
        let due = start + lifetime.mul_f64(RENEWED_AFTER);
        due.duration_since(now).unwrap_or_default()
    }

    /// Returns the pause after this many failures: doubled each time, at least the authority's `Retry-After`, and random, so
    /// that nodes do not retry together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.settings.retry.saturating_mul(1 << failures.min(12));
        let pause = doubled.min(MAX_PAUSE).max(self.client.take_retry_after());
        pause + pause.mul_f64(rand::random::<f64>() / 4.0)
    }

    fn report(&self, upkeep: &Upkeep) {
        let end = self.validity.map(|validity| validity.end);
        if let Some(end) = end {
            tracing::info!(names = self.settings.domains.join(", "), end = %timestamp(end), "the certificate is in use");
        }
        for listener in &self.listeners {
            upkeep.note_certificate(listener, end);
        }
    }

    fn log_failure(&self, error: &AcmeError, pause: Duration) {
        let retry_in = format_duration(Duration::from_secs(pause.as_secs().max(1)));
        let names = self.settings.domains.join(", ");
        let directory = &self.settings.directory;
        match self.validity {
            Some(Validity { end, .. }) if end < SystemTime::now() => {
                tracing::error!(%error, names, directory, retry_in, end = %timestamp(end),
                    "the certificate has ended and cannot be renewed; clients refuse it");
            }
            Some(Validity { end, .. }) => {
                tracing::warn!(%error, names, directory, retry_in, end = %timestamp(end),
                    "the certificate cannot be renewed; the present one stays in use");
            }
            None if self.certificates.issued().is_some() => {
                tracing::error!(%error, names, directory, retry_in,
                    "no certificate for these names; the one for other names stays in use");
            }
            None => {
                tracing::error!(%error, names, directory, retry_in, listeners = self.listeners.join(", "),
                    "no certificate; TLS connections are refused until there is one");
            }
        }
    }
}

/// Returns the chain and the key of `pem`, ready for use.
fn certified(pem: &[u8]) -> Result<(CertifiedKey, Validity), AcmeError> {
    parse(pem).map_err(|AcmeError(reason)| AcmeError(format!("the certificate cannot be used: {reason}")))
}

fn parse(pem: &[u8]) -> Result<(CertifiedKey, Validity), AcmeError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pem)?;
    let no_times = || AcmeError("it does not say when it ends".to_owned());
    let validity = chain.first().and_then(Validity::of).ok_or_else(no_times)?;
    let certified = CertifiedKey::from_der(chain, key, &resolver::provider())?;
    Ok((certified, validity))
}

#[cfg(test)]
mod tests;
