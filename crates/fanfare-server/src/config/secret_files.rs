//! The `_file` form of every setting that may hold a secret: it names a file with the value, such as a mounted secret.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::DeValue;

use super::kind::Kind;
use super::merged::Merged;
use super::origin::Problem;
use super::schema::{FILE_SUFFIX, Key, Schema};
use super::types::without_line_ends;

/// The most bytes of a file with secrets or keys.
const MOST_BYTES: u64 = 1 << 20;

/// Returns the content of a file with secrets or keys. A device, or a log named by mistake, is refused as too long.
pub(crate) fn content(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(file)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > MOST_BYTES {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(bytes)
}

/// Returns the key that set `key`: itself, or its `_file` form if `files` has it.
pub(super) fn set_by(files: &BTreeMap<String, PathBuf>, key: &str) -> String {
    let suffix = if files.contains_key(key) { FILE_SUFFIX } else { "" };
    format!("{key}{suffix}")
}

/// Reads the named files, and sets the secrets that they hold. The rest of the program finds each secret in one place.
pub(super) fn read(schema: &Schema, merged: &mut Merged) {
    merged.files.retain(|_, file| !file.as_os_str().is_empty());
    for key in schema.leaves() {
        let target = key.path.as_str();
        let Some(file) = merged.files.get(target).cloned() else {
            continue;
        };
        let path = format!("{target}{FILE_SUFFIX}");
        let origin = merged.origins.of(&path).clone();
        let value = if merged.is_configured(target) && !merged.values.is_empty(target) {
            let other = merged.origins.of(target);
            Err(format!(
                "found beside {target} ({other}), expected one of the two"
            ))
        } else {
            value(schema, key, &file)
        };
        match value {
            Ok(value) => merged.set(target, value, origin),
            Err(text) => {
                merged.files.remove(target);
                merged.refuse(Problem::new(origin, path, text));
            }
        }
    }
}

/// Returns whether one of its folders exists. Otherwise the text may be the secret itself, which is not printed.
fn is_path(file: &Path) -> bool {
    let mut folders = file.ancestors().skip(1);
    folders.any(|folder| folder.parent().is_some() && folder.is_dir())
}

fn value(schema: &Schema, key: &Key, file: &Path) -> Result<Value, String> {
    let name = file.display();
    let bytes = content(file).map_err(|reason| {
        if is_path(file) {
            format!("found {name:?}, which cannot be read: {reason}")
        } else {
            format!("found a text that names no file, expected the path of a file: {reason}")
        }
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("found {name:?}, expected a file of text in UTF-8"))?;
    let text = without_line_ends(&text);
    if text.is_empty() {
        return Err(format!("found {name:?}, which is empty, expected a secret"));
    }
    let read = |kind: Kind<'_>, text: &str| {
        let value = schema.check(key, kind, &DeValue::String(text.into()));
        value.map_err(|reason| format!("in {name:?}: {reason}"))
    };
    match key.kind().item() {
        Some(item) => {
            let lines = text.lines().filter(|line| !line.is_empty());
            let values = lines.map(|line| read(item, line)).collect::<Result<_, _>>();
            values.map(Value::Array)
        }
        None => read(key.kind(), text),
    }
}
