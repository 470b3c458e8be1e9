//! The configuration: one TOML file, environment variables over it, flags over both.
//!
//! `model` declares the settings, with their docs and defaults. `schema` reads those declarations as data, and
//! everything else works from that data: the layers (`profile`, `file`, `environment`), the checks, the printed
//! forms. To add a table, add a struct to `model`; to add a rule between settings, add it to `checks`.

mod access;
mod accounts;
mod bind_address;
mod broker;
mod checks;
mod derived;
mod dialect;
mod environment;
mod file;
mod form;
mod found;
mod kind;
mod layer;
mod load;
mod merged;
mod model;
mod origin;
mod placement;
mod print;
mod profile;
mod schema;
mod types;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use access::{Authorizer, ChannelRule};
pub use accounts::{Algorithm, Auth, Registration, Storage};
pub use bind_address::BindAddress;
pub use broker::{Broker, BrokerKind};
pub use dialect::{DialectConfig, DialectInfo};
pub use file::DEFAULT_FILES;
pub use load::{Loaded, Sources, load};
pub use model::{Api, Config, Limits, Listener, Log, LogFormat, LogLevel, Resp, Server, Shutdown, Tls};
pub use origin::{ConfigErrors, Origin, Origins, Problem};
pub use print::{example, json_schema, reference, show};
pub(crate) use types::without_line_ends;
pub use types::{Secret, parse_network};
