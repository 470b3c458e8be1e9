//! The configuration: one TOML file, environment variables over it, flags over both.
//!
//! A setting is declared once, as a field: its type is the accepted values, its doc comment the documentation, its
//! `#[default(…)]` the default, its place the key and the variable. `model`, `accounts`, `access`, `broker`, `observe` and
//! `dialect` declare the settings, and a dialect's folder those that only this dialect has. `schema` reads the declarations as
//! data. The layers (`profile`, `file`, `environment`, read by `layer` into `merged`), the checks and the printed forms
//! all use that data. `kind` checks one value against its declaration, and `form` has the forms of texts.
//!
//! To add a setting, add a field. To add a rule between settings, add it to `checks`.

mod access;
mod accounts;
mod acme;
mod bind_address;
mod broker;
mod checks;
mod derived;
mod dialect;
mod environment;
mod found;
mod history;
mod kind;
mod layer;
mod load;
mod merged;
mod model;
mod observe;
mod origin;
mod placement;
mod print;
mod profile;
mod schema;
mod secret_files;
mod sources;
mod telemetry;
mod text;
mod types;
mod values;

#[cfg(test)]
pub(crate) mod tests;

pub use access::{Authorizer, ChannelRule};
pub use accounts::{Algorithm, Auth, Registration, Storage};
pub use acme::Acme;
pub use bind_address::BindAddress;
pub use broker::{Broker, BrokerKind};
pub use dialect::DialectConfig;
pub use history::{AudienceHistory, ByteSize, ChannelHistory, HistorySettings};
pub use load::{DEFAULT_FILES, Loaded, load};
pub use model::{
    Api, Config, Limits, Listener, Log, LogFormat, LogLevel, Resp, Server, Shutdown, Tls, Visibility,
};
pub use observe::Observe;
pub use origin::{ConfigErrors, Origin, Origins, Problem};
pub use print::{Setting, example, json_schema, reference, settings, show};
pub use sources::Sources;
pub use telemetry::Otlp;
pub(crate) use types::without_line_ends;
pub use types::{Secret, parse_network};
