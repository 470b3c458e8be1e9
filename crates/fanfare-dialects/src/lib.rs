//! The client protocols that Fanfare speaks.
//!
//! Each protocol is a folder and one line in [`ALL`]; nothing else names it. The folders are pure: bytes in,
//! steps out, with the traits of [`fanfare_core`]. `echo` is the smallest, and the first to read.
//!
//! Beside the code, each folder's `transcripts` show what the protocol receives and sends, scene by scene;
//! every scene is a test.

use fanfare_core::DialectKind;

mod broadcast;
mod describe;
mod echo;
mod notify;
mod realtime;
mod rooms;
mod topics;

/// Every dialect, in the order of reports; a dialect's index here is its number in the engine.
pub static ALL: &[&dyn DialectKind] = &[
    &notify::Kind,
    &broadcast::Kind,
    &topics::Kind,
    &realtime::Kind,
    &rooms::Kind,
    &echo::Kind,
];

/// Pairs of dialects that may share a path on one listener. The second takes the handshakes that it claims, and
/// connections of the first that send a message which it recognizes.
pub static SHARING: &[(&str, &str)] = &[("notify", "realtime")];

/// Returns the dialect of that name, with its number.
pub fn find(name: &str) -> Option<(usize, &'static dyn DialectKind)> {
    ALL.iter()
        .position(|dialect| dialect.name() == name)
        .map(|at| (at, ALL[at]))
}
