//! One layer of the configuration: the values of one source, compared with the schema.

use std::path::PathBuf;

use toml::Value;

use super::kind::{Kind, hint, nearest};
use super::origin::{Origin, Problem};
use super::raw::{Entry, Item, Raw};
use super::schema::{Key, Schema, join};

/// What a layer is read from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Profile(String),
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl Source {
    /// The origin of what stands on `line`.
    pub(super) fn at(&self, line: usize) -> Origin {
        match self {
            Self::Profile(name) => Origin::Profile(name.clone()),
            Self::File(file) => Origin::File {
                file: file.clone(),
                line,
            },
            Self::Environment(name) => Origin::Environment(name.clone()),
            Self::Flag(key) => Origin::Flag(key.clone()),
        }
    }
}

/// The values of one source.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) values: Vec<(String, Value, Origin)>,
    /// The origins inside repeated tables: `listener[0]`, `listener[0].bind`.
    pub(super) details: Vec<(String, Origin)>,
    pub(super) problems: Vec<Problem>,
}

/// Reads entries into a layer.
pub(super) struct Reader<'a> {
    schema: &'a Schema,
    source: Source,
    pub(super) layer: Layer,
}

impl<'a> Reader<'a> {
    pub(super) fn new(schema: &'a Schema, source: Source) -> Self {
        Self {
            schema,
            source,
            layer: Layer::default(),
        }
    }

    pub(super) fn problem(&mut self, line: usize, key: &str, text: impl Into<String>) {
        self.layer
            .problems
            .push(Problem::new(self.source.at(line), key, text));
    }

    /// Reads a whole document.
    pub(super) fn document(&mut self, entries: &[Entry]) {
        let schema = self.schema;
        self.table(&schema.keys, entries, "");
    }

    fn table(&mut self, keys: &[Key], entries: &[Entry], prefix: &str) {
        for entry in entries {
            let path = join(prefix, &entry.name);
            let Some(key) = keys.iter().find(|key| key.name == entry.name) else {
                self.unknown(keys, prefix, entry);
                continue;
            };
            match (&key.kind, &entry.item.raw) {
                (Kind::Table(keys), Raw::Table(entries)) => self.table(keys, entries, &path),
                (Kind::Table(_), raw) => {
                    let text = format!("found {}, expected a table, `[{path}]`", raw.type_name());
                    self.problem(entry.line, &path, text);
                }
                (kind, _) => self.leaf(kind, &entry.item, entry.line, &path),
            }
        }
    }

    /// Reads the value of one key that is no plain table.
    pub(super) fn leaf(&mut self, kind: &Kind, item: &Item, line: usize, path: &str) {
        let before = self.layer.problems.len();
        let value = match kind {
            Kind::Tables(keys) => self.tables(keys, item, line, path),
            kind => self.value(kind, item, line, path),
        };
        if self.layer.problems.len() == before
            && let Some(value) = value
        {
            self.layer
                .values
                .push((path.to_owned(), value, self.source.at(line)));
        }
    }

    fn value(&mut self, kind: &Kind, item: &Item, line: usize, path: &str) -> Option<Value> {
        match (kind, &item.raw) {
            (Kind::List(kind), Raw::List(items)) => {
                let values = items
                    .iter()
                    .filter_map(|item| self.value(kind, item, item.line, path));
                Some(Value::Array(values.collect()))
            }
            (Kind::List(_), raw) => {
                let text = format!("found {}, expected {}", kind.found(raw), kind.expected(None));
                self.problem(line, path, text);
                None
            }
            (kind, raw) => match kind.scalar(raw) {
                Ok(value) => Some(value),
                Err(text) => {
                    self.problem(line, path, text);
                    None
                }
            },
        }
    }

    fn tables(&mut self, keys: &[Key], item: &Item, line: usize, path: &str) -> Option<Value> {
        let Raw::List(items) = &item.raw else {
            let text = format!("found {}, expected tables, `[[{path}]]`", item.raw.type_name());
            self.problem(line, path, text);
            return None;
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Raw::Table(entries) = &item.raw else {
                self.problem(
                    item.line,
                    &path,
                    format!("found {}, expected a table", item.raw.type_name()),
                );
                continue;
            };
            self.layer.details.push((path.clone(), self.source.at(item.line)));
            tables.push(Value::Table(self.inner_table(keys, entries, item.line, &path)));
        }
        Some(Value::Array(tables))
    }

    /// A table inside a repeated one: what is not set there has no other layer to come from.
    fn inner_table(&mut self, keys: &[Key], entries: &[Entry], line: usize, prefix: &str) -> toml::Table {
        let mut table = toml::Table::new();
        for entry in entries {
            let path = join(prefix, &entry.name);
            let Some(key) = keys.iter().find(|key| key.name == entry.name) else {
                self.unknown(keys, prefix, entry);
                continue;
            };
            let value = match (&key.kind, &entry.item.raw) {
                (Kind::Table(keys), Raw::Table(entries)) => {
                    Some(Value::Table(self.inner_table(keys, entries, entry.line, &path)))
                }
                (Kind::Table(_), raw) => {
                    self.problem(
                        entry.line,
                        &path,
                        format!("found {}, expected a table", raw.type_name()),
                    );
                    None
                }
                (kind, _) => self.value(kind, &entry.item, entry.line, &path),
            };
            self.layer.details.push((path, self.source.at(entry.line)));
            if let Some(value) = value {
                table.insert(key.name.clone(), value);
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if !entries.iter().any(|entry| entry.name == key.name) {
                let text = format!("not set, expected {}", key.kind.expected(None));
                self.problem(line, &join(prefix, &key.name), text);
            }
        }
        table
    }

    fn unknown(&mut self, keys: &[Key], prefix: &str, entry: &Entry) {
        let what = if matches!(entry.item.raw, Raw::Table(_)) {
            "table"
        } else {
            "key"
        };
        let siblings = keys.iter().filter(|key| !key.hidden).map(|key| key.name.as_str());
        let better = nearest(&entry.name, siblings).map(ToOwned::to_owned);
        let better = better.or_else(|| self.elsewhere(&entry.name));
        let text = format!("unknown {what}{}", hint(better.map(|name| format!("`{name}`"))));
        self.problem(entry.line, &join(prefix, &entry.name), text);
    }

    /// A key that has this name in another table.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let visible = |path: &str| {
            let table = path.split('.').next().unwrap_or_default();
            !self.schema.keys.iter().any(|key| key.hidden && key.name == table)
        };
        let leaves = self.schema.leaves();
        let mut paths = leaves
            .into_iter()
            .filter(|(path, key)| key.name == name && visible(path));
        paths.next().map(|(path, _)| path)
    }
}
