//! Extension negotiation.

/// What was agreed about compression on one connection. Context takeover is always off in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateParams {
    /// The window we may compress with, as a power of two: 8 to 15.
    pub server_max_window_bits: u8,
}
