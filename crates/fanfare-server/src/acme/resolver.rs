//! The certificates that a listener shows: the issued one, and those for the authority's challenges.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwapOption;
use fanfare_core::locked;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::AcmeError;
use crate::http::CHALLENGE_PROTOCOL;

/// The current certificates.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    issued: ArcSwapOption<CertifiedKey>,
    /// The certificates of open challenges, by domain.
    challenges: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Shows `issued` to new connections.
    pub(super) fn replace(&self, issued: CertifiedKey) {
        self.issued.store(Some(Arc::new(issued)));
    }

    pub(super) fn issued(&self) -> Option<Arc<CertifiedKey>> {
        self.issued.load_full()
    }

    /// Lets the authority validate `domain`, by the digest of its challenge (RFC 8737), until [`Self::close_challenges`].
    pub(super) fn open_challenge(&self, domain: &str, digest: &[u8]) -> Result<(), AcmeError> {
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not checked: verifiers of common certificates refuse the critical extension, which is the challenge.
        let key = provider().key_provider.load_private_key(key)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
        locked(&self.challenges).insert(domain.to_owned(), Arc::new(certified));
        Ok(())
    }

    pub(super) fn close_challenges(&self) {
        locked(&self.challenges).clear();
    }

    pub(super) fn challenge(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        locked(&self.challenges).get(domain).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_challenge = hello
            .alpn()
            .is_some_and(|offered| offered.eq([CHALLENGE_PROTOCOL]));
        if is_challenge {
            self.challenge(hello.server_name()?)
        } else {
            self.issued()
        }
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    let provider = CryptoProvider::get_default().cloned();
    provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}
