//! The settings, declared once: a field's doc comment is its documentation everywhere, its place gives the key and the
//! environment variable, its `#[default(…)]` the default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fanfare_core::{DurationText, GuardedUrl, OptionalText, Registry, policy::Rule};
use fanfare_engine::ObserveLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

use super::access::Authorizer;
use super::accounts::{Auth, Storage};
use super::bind_address::BindAddress;
use super::broker::Broker;
use super::dialect::DialectConfig;
use super::history::HistorySettings;
use super::types::{Network, Secret};

/// The configuration of one Fanfare process.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder for data that the server must keep, such as a generated secret. A relative path starts at the working
    /// directory.
    #[schemars(extend("x-kind" = "path"))]
    #[default(PathBuf::from("data"))]
    pub data_dir: PathBuf,

    /// An address to listen on. Repeat the table for more. The listeners of the file replace those of the profile.
    pub listener: Vec<Listener>,

    /// A certificate from an authority that supports ACME, such as Let's Encrypt, for the listeners with `acme = true`.
    pub acme: Acme,

    /// The dialects of this build.
    #[serde(skip)]
    pub registry: Registry,

    /// The settings of each dialect, by the dialect's name.
    #[serde(skip)]
    pub dialects: BTreeMap<String, DialectConfig>,

    /// The verification of tokens, and the origins that may connect.
    pub auth: Auth,

    /// The HTTP interface for backends.
    pub api: Api,

    /// A rule that decides which users may act on the channels that a pattern matches. Repeat the table for more. Of
    /// the rules that match a channel, the first decides each action that it names. The authorizer, the token's rooms
    /// and the defaults decide the other actions.
    pub channel: Vec<Rule>,

    /// Your own service that decides if no rule does.
    pub authorizer: Authorizer,

    /// The service that carries events between the nodes of a cluster.
    pub broker: Broker,

    /// Events that are kept for clients that reconnect. Rules give channels history: `history` in `[[channel]]`.
    pub history: HistorySettings,

    /// The database of users, sessions and messages.
    pub storage: Storage,

    /// The embedded door for publishers that use the Redis protocol. It belongs to the memory broker; with any other
    /// broker it is off.
    pub resp: Resp,

    /// Limits that apply to every dialect.
    pub limits: Limits,

    /// The limits of operators' traces and tails.
    pub observe: ObserveLimits,

    /// The drain of the server after SIGTERM, SIGINT or SIGQUIT.
    pub shutdown: Shutdown,

    /// The server's log, on standard error.
    pub log: Log,

    /// The traces that the server sends to a collector.
    pub telemetry: Telemetry,

    /// The threads of the process, and its readiness without a broker.
    pub server: Server,
}

impl Config {
    /// Returns whether the IPv6 sockets of `bind` also accept IPv4: those of `[::]` do, unless another address of this
    /// configuration has the port on IPv4.
    pub fn is_dual_stack(&self, bind: BindAddress) -> bool {
        let listeners = self.listener.iter().map(|listener| listener.bind);
        let mut others = listeners.chain(self.resp.bind);
        bind.is_ip() && !others.any(|other| bind.leaves_ipv4_to(other))
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address and port to listen on. `0.0.0.0` is every IPv4 address of the machine; `[::]` is every IPv6 address, and also
    /// every IPv4 address unless another address of this configuration has the port on IPv4; `:8081` is all of both;
    /// `localhost:8081` is both loopback addresses. Port 0 lets the system choose.
    pub bind: BindAddress,

    /// The names of the dialects that are served here. An empty list serves only the HTTP routes.
    pub dialects: Vec<String>,

    /// A path under which every route of this listener is mounted, such as `/a`. Empty mounts them at the root.
    #[serde(default)]
    pub prefix: String,

    /// Serves this listener over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Tls")]
    pub tls: Option<Tls>,

    /// Serves this listener over TLS, with the certificate of `[acme]`.
    #[serde(default)]
    pub acme: bool,
}

impl Listener {
    /// Returns whether its clients speak TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some() || self.acme
    }

    /// Returns whether it names the dialect.
    pub fn serves(&self, dialect: &str) -> bool {
        self.dialects.iter().any(|name| name == dialect)
    }
}

/// A certificate from an authority that supports ACME, such as Let's Encrypt, for the listeners with `acme = true`. The authority
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
    #[serde(with = "OptionalText::<PathBuf>")]
    #[schemars(extend("x-kind" = "path"))]
    pub ca_file: Option<PathBuf>,

    /// The pause after a failed order. It doubles with each failure, up to an hour.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(60))]
    pub retry: Duration,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The PEM file with the certificate chain, the server's own certificate first.
    #[schemars(extend("x-kind" = "path"))]
    pub cert: PathBuf,

    /// The PEM file with the private key.
    #[schemars(extend("x-kind" = "path"))]
    pub key: PathBuf,
}

/// The HTTP interface for backends.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The keys that backends may send as `Authorization: Bearer`. Without any key, only programs on the same machine
    /// may call the API, if `trust_loopback` allows them.
    pub keys: Vec<Secret>,

    /// Whether programs on this machine need no key, here and at the embedded Redis-protocol door, as long as no key
    /// exists. The production profile trusts none of them.
    #[default(true)]
    pub trust_loopback: bool,

    /// The callers that may read `/metrics` and `/metrics/prometheus`: all (`open`), those with an API key of the scope
    /// `read` or an admin's token (`key`), or none (`off`).
    pub metrics: Visibility,

    /// The callers that may read `/docs`, `/openapi.json` and `/asyncapi.json`, with the same values. A browser sends
    /// no key.
    pub docs: Visibility,

    /// The callers that may open the page at `/admin`, with the same values. Its files hold no data: the page asks the
    /// service API, with the credential of its user. A browser sends no key for the page itself, so with `key` it opens
    /// only on this machine while no key exists, or behind a proxy that adds one.
    pub admin: Visibility,
}

/// The embedded door for publishers that use the Redis protocol.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resp {
    /// The address and port of the door. Empty, or `off`, closes it. If another program has the default address, the server
    /// runs without the door; a configured address must be free.
    #[serde(with = "OptionalText::<BindAddress>")]
    #[schemars(extend("x-empty" = true))]
    #[default(Some(SocketAddr::from(([127, 0, 0, 1], 6379)).into()))]
    pub bind: Option<BindAddress>,

    /// The password for AUTH, with the user name `default` or none. API keys also work, with any user name. Without a
    /// password and without any API key the door is open, and may bind only a loopback address.
    #[serde(with = "OptionalText::<Secret>")]
    pub password: Option<Secret>,

    /// The maximum number of connected publishers.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(1000)]
    pub max_connections: usize,

    /// The maximum length of a command, in bytes.
    #[schemars(range(min = 1024, max = 536_870_912))]
    #[default(8 * 1024 * 1024)]
    pub max_message_size: usize,
}

/// Limits that apply to every dialect.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The maximum number of WebSocket handshakes in a second from one client address. 0 is no limit. The addresses of
    /// an IPv6 network of 64 bits count as one.
    #[schemars(range(max = 1_000_000))]
    pub upgrades_per_second_per_ip: u32,

    /// The maximum number of other requests in a second from one client address; probes and metrics do not count. 0 is
    /// no limit.
    #[schemars(range(max = 1_000_000))]
    pub requests_per_second_per_ip: u32,

    /// The maximum number of WebSocket frames in a second from one connection. Each frame of a message counts, and so do
    /// pings and pongs. 0 is no limit.
    #[schemars(range(max = 1_000_000))]
    pub messages_per_second_per_connection: u32,

    /// The number of handshakes, requests or messages that may arrive at once after a quiet time, before their limit per
    /// second applies. If that limit is the larger number, it is the burst.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(20)]
    pub burst: u32,

    /// The networks of the proxies in front of the server, such as `10.0.0.0/8`. Their `X-Forwarded-For` header gives
    /// the client's address; from other peers the header is ignored.
    pub trusted_proxies: Vec<Network>,

    /// The time limit of a new connection for TLS and the headers of its first request.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(10))]
    pub handshake_timeout: Duration,

    /// The time limit of an HTTP request to arrive: of its headers, from their first byte, and of its body, each.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(30))]
    pub request_timeout: Duration,

    /// The time after which an HTTP connection is closed that is idle, or whose client does not read the response. Keep
    /// it above the idle timeout of every proxy and load balancer in front of the server.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(75))]
    pub keep_alive_timeout: Duration,

    /// The maximum length of the request line and headers together, in bytes.
    #[schemars(range(min = 1024, max = 1_048_576))]
    #[default(16 * 1024)]
    pub max_header_size: usize,

    /// The maximum length of a request body, in bytes.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    #[default(8 * 1024 * 1024)]
    pub max_body_size: usize,

    /// The maximum number of members of a room that a client receives as a list when it joins. A larger room is joined
    /// without the list.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(fanfare_core::MAX_LISTED_MEMBERS)]
    pub max_listed_members: usize,

    /// The maximum number of members of a room that a node reads from Redis. In a larger room, a client that joins
    /// receives no list. Clients there receive no announcements of members that joined or left while their node was
    /// disconnected from Redis.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(fanfare_core::MAX_KNOWN_MEMBERS)]
    pub max_known_members: usize,

    /// The maximum number of deliveries that a shard postpones, so that events for few connections need not wait for
    /// events for many. At the limit, it delivers the oldest of those events to all its connections first. Each
    /// postponed delivery takes eight bytes.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[default(fanfare_engine::MAX_FAN_OUT_RECEIVERS)]
    pub max_fan_out_receivers: usize,
}

/// The drain of the server after SIGTERM, SIGINT or SIGQUIT.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// The time after which the server cuts every open connection.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(1800))]
    pub timeout: Duration,

    /// The time over which the closes are spread, so that the clients do not all reconnect at once; at most `timeout`.
    #[serde(with = "DurationText::<0>")]
    #[default(Duration::from_secs(10))]
    pub drain_window: Duration,
}

/// The server's log, on standard error.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The lowest level of messages that are written.
    pub level: LogLevel,

    /// `human` is for reading, `json` is one object a line, `auto` is `human` on a terminal and `json`
    /// elsewhere.
    pub format: LogFormat,
}

/// The lowest level of messages that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are clear
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Returns the level's name, which is also a filter for `tracing_subscriber`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // documented at `Log::format`
pub enum LogFormat {
    #[default]
    Auto,
    Human,
    Json,
}

/// The callers that may read the metrics or the descriptions of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// All callers.
    #[default]
    Open,
    /// Callers of the service API, with the scope `read`.
    Key,
    /// No caller: the route does not exist.
    Off,
}

/// The traces that the server sends to a collector.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Traces for an OpenTelemetry collector, by OTLP over HTTP with protobuf.
    pub otlp: Otlp,
}

/// Traces for an OpenTelemetry collector, by OTLP over HTTP with protobuf.
#[derive(Clone, Debug, SmartDefault, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The URL of the collector, such as `http://127.0.0.1:4318`. Without a path, spans go to `/v1/traces` there. Empty sends
    /// nothing.
    #[serde(with = "OptionalText::<GuardedUrl>")]
    pub endpoint: Option<GuardedUrl>,

    /// Headers of each request to the collector, such as `["Authorization: Bearer …"]`.
    pub headers: Vec<Secret>,

    /// The name of this service in the traces.
    #[default("fanfare".to_owned())]
    pub service_name: String,

    /// The number of publications that begin a trace, in a thousand without a `traceparent`. A publication with a
    /// `traceparent` belongs to its trace, if that is sampled.
    #[schemars(range(max = 1000))]
    #[default(10)]
    pub traces_per_thousand: u32,

    /// The maximum number of spans that wait for the collector. Further spans are dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[default(4096)]
    pub max_queued_spans: usize,

    /// The time limit of a request to the collector. The spans of a failed request are dropped and counted.
    #[serde(with = "DurationText::<1>")]
    #[default(Duration::from_secs(5))]
    pub timeout: Duration,
}

/// The threads of the process, and its readiness without a broker.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The time for which a node stays ready after it has lost its broker: `/readyz` is 200 meanwhile, and `/health` is
    /// `degraded`. `0s` removes the node from a load balancer at once, and with it all nodes that share the broker. The
    /// production profile has `30s`, enough for a restart or a failover of Redis. A node that has never reached its
    /// broker is not ready.
    #[serde(with = "DurationText::<0>")]
    pub broker_grace: Duration,

    /// The number of threads that serve connections. 0 uses one for each core.
    #[schemars(range(max = 1024))]
    pub shards: usize,
}
