//! Fanfare.

pub mod auth;
pub mod ws;
