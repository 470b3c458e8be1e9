//! The Redis-protocol door: `redis-cli`, go-redis, redis-py and ioredis publish here without a Redis server.
//!
//! It understands the publishing part of the protocol in both its versions. [`reader`] turns bytes into requests,
//! [`writer`] replies into bytes; neither does I/O. A [`RedisDoor`] holds what all connections share, and [`serve`] runs
//! one of them. The publications of one read go to the broker together, and its replies go out together.

mod batch;
mod commands;
mod connection;
mod door;
mod glob;
mod inline;
pub mod reader;
mod request;
mod session;
mod stats;
mod wire;
pub mod writer;

pub use connection::serve;
pub use door::{COMMAND_TIMEOUT, DoorOptions, Host, Login, MAX_CLIENTS, RedisDoor};

#[cfg(test)]
mod tests;
