//! Fanfare's server: listeners, the HTTP routes, the Redis-protocol door, configuration and the
//! command line. The binary is `fanfare`; this library exists for it, its tests, its fuzz targets and its benchmarks.

mod access;
mod acme;
pub mod auth;
mod causes;
pub mod cli;
pub mod config;
pub mod http;
pub mod messages;
mod otlp;
mod parsing;
mod private_file;
mod refusals;
pub mod report;
pub mod resp;
pub mod serve;
mod shared_lru;
pub mod telemetry;
pub mod upkeep;
mod web_origin;
