//! The file layer.

use std::path::{Path, PathBuf};

use super::layer::{Reader, Source};
use super::merged::Merged;
use super::schema::Schema;

/// The default files; the first that exists is read.
pub const DEFAULT_FILES: [&str; 2] = ["fanfare.toml", "/etc/fanfare/fanfare.toml"];

/// Reads the named file, or else the first of [`DEFAULT_FILES`] that exists, or else none. Returns its path.
pub(super) fn read(schema: &Schema, named: Option<&Path>, merged: &mut Merged) -> Option<PathBuf> {
    let file = match named {
        Some(file) => file.to_owned(),
        None => DEFAULT_FILES
            .iter()
            .map(PathBuf::from)
            .find(|file| file.exists())?,
    };
    let mut reader = Reader::new(schema, Source::File(file.clone()), merged);
    match std::fs::read_to_string(&file) {
        Ok(text) => reader.document(&text),
        Err(reason) => reader.problem(0, "", format!("cannot be read: {reason}")),
    }
    Some(file)
}
