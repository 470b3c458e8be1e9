//! The client protocols Fanfare speaks. Each has a folder, and one line in [`ALL`]; nothing else names it.

use fanfare_core::DialectKind;

mod echo;
mod notify;
mod realtime;

/// Every dialect. The order is that of reports; a dialect's place here is its number in the engine.
pub static ALL: &[&dyn DialectKind] = &[&notify::Notify, &realtime::Kind, &echo::Echo];

/// The dialect of that name, with its number.
pub fn find(name: &str) -> Option<(usize, &'static dyn DialectKind)> {
    ALL.iter()
        .position(|dialect| dialect.name() == name)
        .map(|at| (at, ALL[at]))
}
