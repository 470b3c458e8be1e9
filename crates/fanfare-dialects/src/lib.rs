//! The client protocols Fanfare speaks. Each has a folder, and one line in [`ALL`]; nothing else names it.

use fanfare_core::Dialect;

mod echo;
mod notify;

/// Every dialect. The order is that of reports; a dialect's place here is its number in the engine.
pub static ALL: &[&dyn Dialect] = &[&notify::Notify, &echo::Echo];

/// The pairs of dialects that may share one path on one listener, because a handshake or a first message tells whose
/// a connection is. The engine knows how.
pub static SHARING: &[(&str, &str)] = &[];

/// The dialect of that name, with its number.
pub fn find(name: &str) -> Option<(usize, &'static dyn Dialect)> {
    ALL.iter()
        .position(|dialect| dialect.name() == name)
        .map(|at| (at, ALL[at]))
}
