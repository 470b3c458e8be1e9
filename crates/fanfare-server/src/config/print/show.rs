//! The effective configuration.

use std::fmt::Write as _; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::dialect::DialectInfo;
use crate::config::kind::Key;
use crate::config::kind::Kind;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{Schema, Section, join};

/// Returns the effective values as TOML, secrets as `***`, each value that is not a default with its origin.
pub fn show(loaded: &Loaded, dialects: &[DialectInfo]) -> String {
    let schema = Schema::new(dialects);
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let head = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    let mut printer = Printer { loaded, text: head };
    for section in schema.sections() {
        let is_set = |key: &&Key| *loaded.origins.of(&join(&section.path, &key.name)) != Origin::Default;
        if section.repeats() {
            printer.repeated(&section);
        } else if !section.is_hidden() || section.keys.iter().any(is_set) {
            if section.key.is_some() {
                let _ = writeln!(printer.text, "\n[{}]", section.path);
            }
            for key in &section.keys {
                printer.setting(&section.path, key);
            }
        }
    }
    printer.text
}

struct Printer<'a> {
    loaded: &'a Loaded,
    text: String,
}

impl Printer<'_> {
    fn setting(&mut self, prefix: &str, key: &Key) {
        let path = join(prefix, &key.name);
        if let Some(file) = self.loaded.files.get(&path) {
            let value = Value::from(file.display().to_string()).to_string();
            self.line(&format!("{}_file", key.name), &value, &path);
        } else if let Some(value) = self.loaded.values.get(&path) {
            let value = guarded(&key.kind, value);
            self.line(&key.name, &value, &path);
        }
    }

    fn repeated(&mut self, section: &Section<'_>) {
        let name = &section.path;
        let tables = self.loaded.values.get(name).and_then(Value::as_array);
        for (index, table) in tables
            .into_iter()
            .flatten()
            .filter_map(Value::as_table)
            .enumerate()
        {
            let path = format!("{name}[{index}]");
            let _ = writeln!(self.text, "\n[[{name}]]");
            for key in &section.keys {
                let Some(value) = table.get(&key.name) else {
                    continue;
                };
                let value = match &key.kind {
                    Kind::Table(_) => value.to_string(),
                    kind => guarded(kind, value),
                };
                self.line(&key.name, &value, &join(&path, &key.name));
            }
        }
    }

    fn line(&mut self, name: &str, value: &str, path: &str) {
        let _ = write!(self.text, "{name} = {value}");
        match self.loaded.origins.of(path) {
            Origin::Default => {}
            origin => {
                let _ = write!(self.text, " # {origin}");
            }
        }
        self.text.push('\n');
    }
}
