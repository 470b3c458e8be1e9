//! A scene's options, as the configuration would pass them to the dialect.

use fanfare_core::{DialectKind, Options};

/// Returns the options of `kind`: those of the JSON object `text`, and the defaults of all others.
pub(crate) fn options(kind: &DialectKind, text: &str) -> Options {
    let given = serde_json::from_str(text).expect("options are JSON");
    let read = kind.options.read(given);
    read.unwrap_or_else(|error| panic!("options: {error}"))
}
