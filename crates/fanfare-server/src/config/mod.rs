//! The configuration: one TOML file, environment variables over it, flags over both.

mod dialect;
mod model;
mod types;

pub use dialect::{DialectConfig, DialectInfo, ExtraKey, ExtraKind, Inherited, Setting, Unit};
pub use model::{
    Algorithm, Api, Auth, Broker, BrokerKind, Config, Limits, Listener, Log, LogFormat, LogLevel, Resp,
    Server, Shutdown, Tls,
};
pub use types::{GuardedUrl, HIDDEN, Secret, parse_duration, parse_network};
