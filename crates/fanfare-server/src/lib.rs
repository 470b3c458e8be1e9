//! Fanfare.

pub mod ws;
