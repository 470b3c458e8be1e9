//! Fanfare.

pub mod resp;
