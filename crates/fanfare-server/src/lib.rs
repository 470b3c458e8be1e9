//! Fanfare.

pub mod auth;
pub mod config;
pub mod ws;
