//! The settings of certificates that an authority issues by ACME.

use std::path::PathBuf;
use std::time::Duration;

use fanfare_core::DurationText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::types::Optional;

/// A certificate from an authority that speaks ACME, such as Let's Encrypt, for the listeners with `acme = true`. The authority
/// connects to port 443 of each domain (the challenge `tls-alpn-01`), which must lead to such a listener.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The domains of the certificate, such as `push.example.com`. If you set one, you accept the authority's terms of
    /// service.
    pub domains: Vec<String>,

    /// The mail addresses that the authority may write to.
    pub contact: Vec<String>,

    /// The authority's directory. Try a configuration with `https://acme-staging-v02.api.letsencrypt.org/directory` first: its limits
    /// are wide, and no browser trusts its certificates.
    #[default("https://acme-v02.api.letsencrypt.org/directory".to_owned())]
    pub directory: String,

    /// A PEM file with the only authorities that may sign the certificate of the directory's server. Empty accepts the
    /// system's authorities.
    #[serde(with = "Optional::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub ca_file: Option<PathBuf>,

    /// The pause after a failed order. It doubles with each failure, up to an hour.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(60))]
    pub retry: Duration,
}
