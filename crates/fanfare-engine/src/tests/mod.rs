//! The engine over real sockets, with a dialect, a broker and an authorizer of the tests' own. After every test it is
//! looked at whether anything is still held for a connection that has gone.

#![allow(clippy::unwrap_used)]

mod authorizer;
mod broker;
mod client;
mod commands;
mod credentials;
mod delivery;
mod fakes;
mod faults;
mod grace;
mod hearing;
mod lapses;
mod life;
mod one_answer;
mod plain;
mod rooms;
mod slots;
mod soak;
mod turns;
mod world;

pub(super) use world::settings;
