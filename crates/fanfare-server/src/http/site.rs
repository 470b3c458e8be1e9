//! What one listener serves, and by which rules.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use ipnet::IpNet;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use super::{Origins, RateLimits};
use crate::{
    auth::Verifier,
    config::Secret,
    engine::{MountedDialect, Node},
};

/// One listener's dialects and rules. Shared by all shards.
pub struct Site {
    pub(super) node: Arc<Node>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) dialects: Vec<Arc<MountedDialect>>,
    pub(super) options: SiteOptions,
}

/// The rules of a listener.
pub struct SiteOptions {
    /// The path below which everything is mounted; empty for the root.
    pub prefix: String,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How often one address may come; the same for all listeners.
    pub rate_limits: Arc<RateLimits>,
    /// What services prove themselves with.
    pub api_keys: Vec<Secret>,
    /// For TLS and for a request's head, from the first byte to the last.
    pub handshake_timeout: Duration,
    /// Bytes in a request's line and headers.
    pub max_header_size: usize,
    /// Bytes in a request's body.
    pub max_body_size: usize,
    /// The certificate and key, for TLS.
    pub tls: Option<TlsAcceptor>,
}

impl Site {
    /// A listener of `node` that serves `dialects`.
    pub fn new(
        node: Arc<Node>,
        verifier: Arc<Verifier>,
        dialects: Vec<Arc<MountedDialect>>,
        options: SiteOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            node,
            verifier,
            dialects,
            options,
        })
    }

    /// The part of `path` below the prefix; `None` when it is elsewhere.
    pub(super) fn local_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.options.prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    pub(super) fn client(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        super::address::client(peer, headers, &self.options.trusted_proxies)
    }
}

/// Loads a PEM certificate chain and private key for TLS 1.2 and 1.3.
///
/// # Errors
/// When a file cannot be read, holds no certificate or key, or the two do not belong together; the text names the file.
pub fn load_tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let about = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| about(cert, &error))?;
    if chain.is_empty() {
        return Err(about(cert, &"holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, &error))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| about(key, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
