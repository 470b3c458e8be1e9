//! The HTTP side of a listener: the upgrade to WebSocket, the probes and figures, the API for services.

mod accept;
mod accounts;
mod address;
mod api;
mod bind;
mod body;
mod caller;
mod connection;
mod endpoints;
mod first_head;
mod forms;
mod headers;
mod health;
mod message_reader;
mod messages;
mod metrics;
mod not_json;
mod openapi;
mod origin;
mod prometheus;
mod rate_limit;
mod reply;
mod routes;
mod site;
mod spelling;
mod stream;
mod tls;
mod upgrade;

pub use accept::{Door, serve};
pub use bind::{BindError, Bound, bind};
pub use origin::Origins;
pub use rate_limit::{Decision, RateLimits};
pub use site::{Site, SiteOptions};
pub use tls::{TlsError, load_tls};
