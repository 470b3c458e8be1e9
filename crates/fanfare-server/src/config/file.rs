//! The file layer: which file is read, and its values.

use std::path::{Path, PathBuf};

use super::layer::{Layer, Reader, Source};
use super::origin::{Origin, Problem};
use super::raw::parse_document;
use super::schema::Schema;

/// Where the file is looked for when none is named; the first that exists is read.
pub const DEFAULT_FILES: [&str; 2] = ["fanfare.toml", "/etc/fanfare/fanfare.toml"];

/// Reads the named file, or else the first of [`DEFAULT_FILES`] that exists, or else none.
pub(super) fn read(schema: &Schema, named: Option<&Path>) -> (Option<PathBuf>, Layer) {
    let found = match named {
        Some(file) => Some(file.to_owned()),
        None => DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.exists()),
    };
    let Some(file) = found else {
        return (None, Layer::default());
    };
    let layer = match std::fs::read_to_string(&file) {
        Ok(text) => parse(schema, &file, &text),
        Err(reason) => {
            let origin = Origin::File {
                file: file.clone(),
                line: 0,
            };
            let problem = Problem::new(origin, "", format!("cannot be read: {reason}"));
            Layer {
                problems: vec![problem],
                ..Layer::default()
            }
        }
    };
    (Some(file), layer)
}

fn parse(schema: &Schema, file: &Path, text: &str) -> Layer {
    let mut reader = Reader::new(schema, Source::File(file.to_owned()));
    match parse_document(text) {
        Ok(entries) => reader.document(&entries),
        // A document that was guessed from broken syntax would only bring errors that are none.
        Err(errors) => {
            for (line, message) in errors {
                reader.problem(line, "", format!("not TOML: {message}"));
            }
        }
    }
    reader.layer
}
