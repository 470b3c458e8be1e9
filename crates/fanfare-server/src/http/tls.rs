//! Loads certificates and private keys, and reads the validity of a certificate.

use std::{path::Path, sync::Arc, time::SystemTime};

use rustls::{
    InconsistentKeys, ServerConfig, ServerConnection,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::ResolvesServerCert,
};
use simple_asn1::ASN1Block;
use tokio_rustls::TlsAcceptor;

/// The ALPN protocol of an ACME authority's validation, which ends after the handshake (RFC 8737).
pub(crate) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";
/// Some clients and proxies refuse a server without ALPN.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The TLS acceptor of a certificate, and the certificate's end.
pub(crate) struct LoadedTls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) end: Option<SystemTime>,
}

/// Loads a PEM certificate chain and private key for TLS 1.2 and 1.3.
///
/// # Errors
/// If one of the files cannot be used: the name of its setting, `cert` or `key`, and a text.
pub(crate) fn load_tls(certificate: &Path, key: &Path) -> Result<LoadedTls, (&'static str, String)> {
    let bad_file = |name, file: &Path, wanted, reason: pem::Error| {
        let file = file.display();
        (
            name,
            format!("found {file:?}, expected a PEM file with a {wanted}: {reason}"),
        )
    };
    let bad_certificate = |reason| bad_file("cert", certificate, "CERTIFICATE", reason);
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(bad_certificate)?;
    if chain.is_empty() {
        return Err(bad_certificate(pem::Error::NoItemsFound));
    }
    let end = chain.first().and_then(Validity::of).map(|validity| validity.end);
    let private = PrivateKeyDer::from_pem_file(key);
    let private = private.map_err(|reason| bad_file("key", key, "PRIVATE KEY", reason))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| {
        let reason = match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key belongs to another certificate".to_owned()
            }
            other => other.to_string(),
        };
        let (key, certificate) = (key.display(), certificate.display());
        let text = format!("found {key:?}, which cannot serve the certificate in {certificate:?}: {reason}");
        ("key", text)
    })?;
    config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Ok(LoadedTls { acceptor, end })
}

/// Returns an acceptor of TLS 1.2 and 1.3 with the certificates of `resolver`. It also accepts an ACME authority's validation.
pub(crate) fn acceptor_of(resolver: Arc<dyn ResolvesServerCert>) -> TlsAcceptor {
    let builder = ServerConfig::builder().with_no_client_auth();
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
    config.alpn_protocols.push(CHALLENGE_PROTOCOL.to_vec());
    TlsAcceptor::from(Arc::new(config))
}

/// Returns whether this connection was only an ACME authority's validation.
pub(super) fn was_challenge(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(CHALLENGE_PROTOCOL)
}

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

impl Validity {
    /// Returns the validity of `certificate`; `None` if it cannot be parsed.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let blocks = simple_asn1::from_der(certificate).ok()?;
        let certificate = sequence(blocks.first()?)?;
        let fields = sequence(certificate.first()?)?;
        // No other field is a sequence of two times.
        fields.iter().find_map(|field| match sequence(field)? {
            [start, end] => Some(Self {
                start: time(start)?,
                end: time(end)?,
            }),
            _ => None,
        })
    }
}

fn sequence(block: &ASN1Block) -> Option<&[ASN1Block]> {
    match block {
        ASN1Block::Sequence(_, blocks) => Some(blocks),
        _ => None,
    }
}

fn time(block: &ASN1Block) -> Option<SystemTime> {
    match block {
        ASN1Block::UTCTime(_, time) | ASN1Block::GeneralizedTime(_, time) => Some(time.assume_utc().into()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn validity_of_a_certificate() {
        let pem = include_bytes!("../../../../e2e/python/tls/cert.txt");
        let validity = Validity::of(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(seconds(validity.start), Duration::from_secs(1_795_244_785));
        assert_eq!(seconds(validity.end), Duration::from_secs(4_948_844_785));
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_validity() {
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", b"text"] {
            assert_eq!(Validity::of(&CertificateDer::from(bytes)), None);
        }
    }
}
