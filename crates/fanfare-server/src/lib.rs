//! Fanfare.

pub mod config;
