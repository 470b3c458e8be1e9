//! The client protocols Fanfare speaks. Each has a folder, and one line in [`ALL`]; nothing else names it.

use fanfare_core::DialectKind;

mod broadcast;
mod describe;
mod echo;
mod notify;
mod realtime;
mod rooms;
mod topics;

/// Every dialect. The order is that of reports; a dialect's place here is its number in the engine.
pub static ALL: &[&dyn DialectKind] = &[
    &notify::Notify,
    &broadcast::Broadcast,
    &topics::Kind,
    &realtime::Kind,
    &rooms::Kind,
    &echo::Echo,
];

/// Dialects that may share a path on one listener: the host, and its guest. The guest takes the handshakes that it
/// claims, and those of the host's connections that turn out to speak it.
pub static SHARING: &[(&str, &str)] = &[("notify", "realtime")];

/// The dialect of that name, with its number.
pub fn find(name: &str) -> Option<(usize, &'static dyn DialectKind)> {
    ALL.iter()
        .position(|dialect| dialect.name() == name)
        .map(|at| (at, ALL[at]))
}
