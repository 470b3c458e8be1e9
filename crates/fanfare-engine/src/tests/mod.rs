//! The engine with a dialect, a broker and an authorizer of the tests' own, over streams in memory and by a simulated clock, but
//! for a few tests over real sockets. After every test it is looked at whether anything is still held for a connection that
//! has gone.

#![allow(clippy::unwrap_used)]

mod audiences;
mod authorizer;
mod broker;
mod chance;
mod client;
mod commands;
mod credentials;
mod delivery;
mod fakes;
mod fan_out;
mod faults;
mod grace;
mod history;
mod history_cluster_model;
mod history_model;
mod interruptions;
mod lapses;
mod life;
mod one_answer;
pub(crate) mod pipe;
pub(crate) mod plain;
mod readiness;
mod rooms;
mod slots;
mod soak;
mod tail;
mod trace;
mod turns;
mod world;

pub(crate) use world::settings;
