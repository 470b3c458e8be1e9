//! The configuration: one TOML file, environment variables over it, flags over both.
//!
//! A setting is declared once, as a field: its type parses and checks the values, its doc comment is the documentation,
//! its `#[default(…)]` the default, its place the key and the variable. `model`, `accounts`, `access`, `broker`,
//! `history` and `dialect` have the fields. A dialect's folder has the fields of that dialect alone, the engine those of
//! `[observe]`, `fanfare_core::policy` those of `[[channel]]`.
//!
//! `schema` reads the declarations as data, from their JSON schema. The layers (`profile`, the file, `environment`,
//! flags; `layer` reads each into `merged`) and the printed forms use that data. `kind` has the texts about a type for
//! errors and documents.
//!
//! To add a setting, add a field. To add a rule between settings, add it to `checks`.

mod access;
mod accounts;
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
mod origin;
mod placement;
mod print;
mod profile;
mod schema;
mod secret_files;
mod types;
mod values;

#[cfg(test)]
pub(crate) mod tests;

pub use access::Authorizer;
pub use accounts::{Auth, Registration, Storage};
pub use bind_address::BindAddress;
pub use broker::Broker;
pub use dialect::DialectConfig;
pub use history::{AudienceHistory, ByteSize, HistorySettings};
pub use load::{DEFAULT_FILES, Loaded, load};
pub use model::{
    Acme, Api, Config, Limits, Listener, Log, LogFormat, LogLevel, Otlp, Resp, Server, Shutdown, Tls,
    Visibility,
};
pub use origin::{ConfigErrors, Origin, Origins, Problem, Sources};
pub use print::{Setting, example, json_schema, reference, settings, show};
pub(crate) use secret_files::content as file_content;
pub(crate) use types::without_line_ends;
pub use types::{Network, Secret};
