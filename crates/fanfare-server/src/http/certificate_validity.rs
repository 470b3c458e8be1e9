//! From when to when a certificate is valid.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use simple_asn1::ASN1Block;

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
        // Of the fields, the validity alone is a sequence of two times.
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
    fn the_times_of_a_certificate() {
        let pem = include_bytes!("../../../../e2e/python/tls/cert.txt");
        let validity = Validity::of(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(seconds(validity.start), Duration::from_secs(1_795_244_785));
        assert_eq!(seconds(validity.end), Duration::from_secs(4_948_844_785));
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for bytes in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", b"text"] {
            assert_eq!(Validity::of(&CertificateDer::from(bytes)), None);
        }
    }
}
