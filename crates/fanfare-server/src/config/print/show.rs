//! The effective configuration.

use std::fmt::Write as _; // writing to a string cannot fail

use toml::Value;

use super::guarded;
use crate::config::dialect::DialectInfo;
use crate::config::kind::Kind;
use crate::config::load::Loaded;
use crate::config::origin::Origin;
use crate::config::schema::{Key, Schema, join};

/// The effective values as TOML, secrets as `***`, and behind each value that is no default where it was set.
pub fn show(loaded: &Loaded, dialects: &[DialectInfo]) -> String {
    let schema = Schema::new(dialects);
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let head = format!("# profile: {}\n# file: {file}\n\n", loaded.profile);
    let mut printer = Printer { loaded, text: head };
    let is_value = |key: &&Key| !matches!(key.kind, Kind::Table(_) | Kind::Tables(_));
    for key in schema.keys.iter().filter(is_value) {
        printer.setting("", key);
    }
    for key in &schema.keys {
        match &key.kind {
            Kind::Table(keys) => printer.table(&key.name, keys, key.hidden),
            Kind::Tables(keys) => printer.repeated(&key.name, keys),
            _ => {}
        }
    }
    printer.text
}

struct Printer<'a> {
    loaded: &'a Loaded,
    text: String,
}

impl Printer<'_> {
    fn table(&mut self, name: &str, keys: &[Key], hidden: bool) {
        let is_set = |key: &Key| *self.loaded.origins.of(&join(name, &key.name)) != Origin::Default;
        if hidden && !keys.iter().any(is_set) {
            return;
        }
        let _ = writeln!(self.text, "\n[{name}]");
        for key in keys {
            self.setting(name, key);
        }
        for key in keys {
            if let Kind::Table(inner) = &key.kind {
                self.table(&join(name, &key.name), inner, key.hidden);
            }
        }
    }

    fn setting(&mut self, prefix: &str, key: &Key) {
        let path = join(prefix, &key.name);
        if let Some(value) = self.loaded.values.get(&path) {
            let value = guarded(&key.kind, value);
            self.line(&key.name, &value, &path);
        }
    }

    fn repeated(&mut self, name: &str, keys: &[Key]) {
        let tables = self.loaded.values.get(name).and_then(Value::as_array);
        for (index, table) in tables
            .into_iter()
            .flatten()
            .filter_map(Value::as_table)
            .enumerate()
        {
            let path = format!("{name}[{index}]");
            let _ = writeln!(self.text, "\n[[{name}]]");
            for key in keys {
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
