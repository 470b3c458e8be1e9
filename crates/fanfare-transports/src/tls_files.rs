//! Reads the TLS files for a broker's connections: the authorities, and this node's certificate and key.

use std::path::Path;

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::{BrokerOptions, OpenError};

/// The checked contents of the files, in PEM.
pub(crate) struct TlsFiles {
    /// The only authorities to trust, if configured.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) client: Option<ClientFiles>,
}

/// The certificate of this node and its key, in PEM.
pub(crate) struct ClientFiles {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl TlsFiles {
    /// Reads the files in `options`.
    ///
    /// # Errors
    /// If a file cannot be read, or has the wrong content. The error contains no part of a file.
    pub(crate) fn read(options: &BrokerOptions) -> Result<Self, OpenError> {
        Ok(Self {
            authorities: options.ca_file.as_deref().map(authorities).transpose()?,
            client: match (&options.client_cert_file, &options.client_key_file) {
                (None, None) => None,
                (Some(certificate), Some(key)) => Some(ClientFiles::read(certificate, key)?),
                (Some(_), None) => return Err(unpaired("client_cert_file", "client_key_file")),
                (None, Some(_)) => return Err(unpaired("client_key_file", "client_cert_file")),
            },
        })
    }

    /// Returns the name of one of the settings that name a file, if any does.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let client = self.client.as_ref().map(|_| "client_cert_file");
        self.authorities.as_ref().map(|_| "ca_file").or(client)
    }
}

impl ClientFiles {
    fn read(certificate: &Path, key: &Path) -> Result<Self, OpenError> {
        let this = Self {
            certificate: read(certificate, "client_cert_file")?,
            key: read(key, "client_key_file")?,
        };
        let chain = this.chain();
        if chain.is_empty() {
            return Err(wrong("client_cert_file", certificate, "has no certificate in it"));
        }
        let Some(secret) = this.key() else {
            return Err(wrong("client_key_file", key, "has no key in it"));
        };
        match CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()) {
            Ok(_) => Ok(this),
            Err(_) => Err(wrong("client_key_file", key, "is not the key of the certificate")),
        }
    }

    /// Returns the certificate, and those up to its authority.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(&self.certificate)
            .flatten()
            .collect()
    }

    pub(crate) fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.key).ok()
    }
}

fn authorities(file: &Path) -> Result<Vec<u8>, OpenError> {
    let wrong = |what: &str| wrong("ca_file", file, what);
    let pem = read(file, "ca_file")?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("is no PEM file"))?;
        let added = store.add(certificate);
        added.map_err(|_| wrong("has a certificate that no authority can have"))?;
    }
    if store.is_empty() {
        return Err(wrong("has no certificate in it"));
    }
    Ok(pem)
}

fn read(file: &Path, name: &'static str) -> Result<Vec<u8>, OpenError> {
    std::fs::read(file).map_err(|reason| wrong(name, file, &format!("cannot be read: {reason}")))
}

fn wrong(name: &'static str, file: &Path, what: &str) -> OpenError {
    OpenError::setting(
        name,
        format!("found {:?}, which {what}", file.display().to_string()),
    )
}

fn unpaired(name: &'static str, other: &str) -> OpenError {
    OpenError::setting(name, format!("found a file, expected broker.{other} beside it"))
}
