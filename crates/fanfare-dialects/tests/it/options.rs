//! A scene's options, as the configuration would hand them to the dialect.

use fanfare_core::{DialectKind, Options};
use serde_json::Value;

/// The options of `kind`: its defaults, and over them the JSON object `text`.
pub(crate) fn options(kind: &dyn DialectKind, text: &str) -> Options {
    let given: Value = serde_json::from_str(text).expect("options are JSON");
    let read = Options::read(kind.defaults().options, |name| given.get(name).cloned());
    read.unwrap_or_else(|error| panic!("options: {error}"))
}
