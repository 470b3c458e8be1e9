//! The engine with a dialect, a broker and an authorizer for tests, streams in memory and a simulated clock. A few tests use real
//! sockets. Each test checks at its end that nothing is held for connections that have ended.

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
