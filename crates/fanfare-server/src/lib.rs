//! Fanfare.

pub mod auth;
