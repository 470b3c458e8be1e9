//! The settings of `[broker]`: the service that carries events between the nodes of a cluster.

use std::path::PathBuf;

use fanfare_core::{GuardedUrl, OptionalText};
use fanfare_transports::{BrokerKind, BrokerOptions, SentinelOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::types::Secret;

/// The service that carries events between the nodes of a cluster.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// `memory` serves one node without any other service; `redis` connects the nodes through a Redis server, `nats`
    /// through NATS with JetStream. If it is not set, the scheme of `url` decides; `sentinel` and `cluster` mean
    /// `redis`.
    pub kind: BrokerKind,

    /// The URL of the broker, such as `redis://:password@127.0.0.1:6379/0` or `nats://user:password@127.0.0.1:4222`;
    /// for `nats` also several URLs separated by commas. The memory broker has none. The default is
    /// `redis://127.0.0.1:6379` or `nats://127.0.0.1:4222`.
    #[serde(with = "OptionalText::<GuardedUrl>")]
    pub url: Option<GuardedUrl>,

    /// URLs of some nodes of a Redis Cluster, such as `["redis://redis-1:6379", "redis://redis-2:6379"]`; Fanfare
    /// discovers the others from them. Set this, `sentinel` or `url`.
    pub cluster: Vec<GuardedUrl>,

    /// A PEM file with the only authorities that may sign the certificate of a broker reached by TLS. Empty accepts the
    /// system's authorities.
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub ca_file: Option<PathBuf>,

    /// A PEM file with the certificate chain that this node presents to a broker which requests a client certificate.
    /// `client_key_file` has its key. Both are read at the start.
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub client_cert_file: Option<PathBuf>,

    /// A PEM file with the key of the certificate in `client_cert_file`.
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub client_key_file: Option<PathBuf>,

    /// A credentials file of NATS, or a file with the seed of a user's key. It replaces a user and a password in `url`.
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub credentials_file: Option<PathBuf>,

    /// A prefix for every channel and key on the broker's server, including the documented names
    /// (`{prefix}user_noti:{id}`), so that two environments can share one server. At most 64 bytes.
    pub prefix: String,

    /// The maximum number of event ids that this node remembers, each for ten minutes, so that a repeated event is not
    /// published again. A million take about 92 MiB. Above the limit the oldest ids are evicted.
    #[schemars(range(min = 1000, max = 100_000_000))]
    #[default(fanfare_core::MAX_CLAIMS)]
    pub max_remembered_ids: usize,

    /// The Redis Sentinels that name the master. Set this, `cluster` or `url`.
    pub sentinel: Sentinel,
}

/// The Redis Sentinels that name the master.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sentinel {
    /// The name of the master in the Sentinels' configuration, such as `mymaster`.
    pub master: String,

    /// The Sentinels' URLs, such as `["redis://sentinel-1:26379", "redis://sentinel-2:26379"]`, with the login for the
    /// Sentinels. With `rediss://`, the master is also reached by TLS.
    pub urls: Vec<GuardedUrl>,

    /// The user for the master, if it differs from the one in the first URL.
    pub username: String,

    /// The password for the master, if it differs from the one in the first URL.
    #[serde(with = "OptionalText::<Secret>")]
    pub password: Option<Secret>,
}

impl Sentinel {
    /// Returns whether Sentinels are configured.
    pub fn is_set(&self) -> bool {
        !self.master.is_empty() || !self.urls.is_empty()
    }
}

impl Broker {
    /// Returns the options that these settings name.
    pub fn options(&self) -> BrokerOptions {
        let exposed = |url: &GuardedUrl| url.expose().to_owned();
        let password = self.sentinel.password.as_ref().map(Secret::expose);
        let sentinel = self.sentinel.is_set().then(|| SentinelOptions {
            master: self.sentinel.master.clone(),
            urls: self.sentinel.urls.iter().map(exposed).collect(),
            username: self.sentinel.username.clone(),
            password: password.unwrap_or_default().to_owned(),
        });
        BrokerOptions {
            url: self.url.as_ref().map(exposed).unwrap_or_default(),
            sentinel,
            cluster: self.cluster.iter().map(exposed).collect(),
            ca_file: self.ca_file.clone(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
            credentials_file: self.credentials_file.clone(),
            prefix: self.prefix.clone(),
            ..BrokerOptions::default()
        }
    }
}
