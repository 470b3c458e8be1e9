//! The Redis-protocol door: `redis-cli`, go-redis, redis-py and ioredis publish here without a Redis server.
//!
//! It understands the publishing part of the protocol in both its versions. [`reader`] parses bytes into requests, [`writer`]
//! writes replies as bytes; neither does I/O. A [`RedisDoor`] has the state that all connections share, and [`serve`] runs one
//! connection. The publications of one read are published together, and its replies are sent together.

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
