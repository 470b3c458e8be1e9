//! The engine on one shard, over real sockets, with a dialect of its own.

#![allow(clippy::unwrap_used)]

mod delivery;
mod faults;
mod life;
mod world;

pub(super) use world::settings;
