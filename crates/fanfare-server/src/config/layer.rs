//! One layer of the configuration: the values of one source, checked against the schema.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::found::{Lines, type_name};
use super::kind::{Key, Kind, hint, nearest};
use super::merged::Merged;
use super::origin::{Origin, Problem};
use super::schema::{Schema, join};

/// The default profile, whose values are the settings' defaults.
pub(super) const DEFAULT_PROFILE: &str = "default";

/// The source of a layer.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Profile(String),
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl Source {
    /// Returns the origin of a value on `line`.
    pub(super) fn at(&self, line: usize) -> Origin {
        match self {
            Self::Profile(name) if name == DEFAULT_PROFILE => Origin::Default,
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

/// Reads the values of one source over those of earlier ones.
pub(super) struct Reader<'a> {
    schema: &'a Schema,
    source: Source,
    lines: Lines,
    merged: &'a mut Merged,
}

impl<'a> Reader<'a> {
    pub(super) fn new(schema: &'a Schema, source: Source, merged: &'a mut Merged) -> Self {
        Self {
            schema,
            source,
            lines: Lines::default(),
            merged,
        }
    }

    pub(super) fn problem(&mut self, line: usize, key: &str, text: impl Into<String>) {
        let problem = Problem::new(self.source.at(line), key, text);
        self.merged.refuse(problem);
    }

    /// Reads a whole document.
    pub(super) fn document(&mut self, text: &str) {
        self.lines = Lines::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        // A document that was guessed from broken syntax would only cause false errors.
        for error in &errors {
            let line = error.span().map_or(1, |span| self.lines.of(span.start));
            self.problem(line, "", format!("not TOML: {}", error.message()));
        }
        if errors.is_empty() {
            self.table(&self.schema.keys, table.get_ref(), "");
        }
    }

    /// Reads one value that is plain text, as the environment has it.
    pub(super) fn plain(&mut self, path: &str, text: &str) {
        if let Some(key) = self.schema.find(path) {
            self.toml(path, &key.kind.to_toml(text));
        }
    }

    /// Reads one value that is TOML.
    pub(super) fn toml(&mut self, path: &str, text: &str) {
        let value = DeValue::parse(text);
        let value = value.unwrap_or_else(|_| Spanned::new(0..0, DeValue::String(text.into())));
        if let Some(key) = self.schema.find(path) {
            self.leaf(&key.kind, &value, 0, path);
        }
    }

    fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        self.lines.of(value.span().start)
    }

    fn table(&mut self, keys: &[Key], entries: &DeTable<'_>, prefix: &str) {
        for (name, value) in entries {
            let line = self.lines.of(name.span().start);
            let path = join(prefix, name.get_ref());
            let Some(key) = keys.iter().find(|key| key.name == *name.get_ref()) else {
                self.unknown(keys, prefix, name.get_ref(), value.get_ref(), line);
                continue;
            };
            match (&key.kind, value.get_ref()) {
                (Kind::Table(keys), DeValue::Table(entries)) => self.table(keys, entries, &path),
                (Kind::Table(_), found) => {
                    let text = format!("found {}, expected a table, `[{path}]`", type_name(found));
                    self.problem(line, &path, text);
                }
                (kind, _) => self.leaf(kind, value, line, &path),
            }
        }
    }

    /// Reads the value of one key that is not a plain table.
    fn leaf(&mut self, kind: &Kind, found: &Spanned<DeValue<'_>>, line: usize, path: &str) {
        let before = self.merged.problems.len();
        let value = match kind {
            Kind::Tables(keys) => self.tables(keys, found, line, path),
            kind => self.value(kind, found, line, path),
        };
        if self.merged.problems.len() == before
            && let Some(value) = value
        {
            self.merged.set(path, value, self.source.at(line));
        }
    }

    fn value(&mut self, kind: &Kind, found: &Spanned<DeValue<'_>>, line: usize, path: &str) -> Option<Value> {
        let text = match (kind, found.get_ref()) {
            (Kind::List(kind), DeValue::Array(items)) => {
                let values = items
                    .iter()
                    .filter_map(|item| self.value(kind, item, self.line(item), path));
                return Some(Value::Array(values.collect()));
            }
            (Kind::List(_), other) => {
                format!("found {}, expected {}", kind.found(other), kind.expected(None))
            }
            (kind, found) => match kind.scalar(found) {
                Ok(value) => return Some(value),
                Err(text) => text,
            },
        };
        self.problem(line, path, text);
        None
    }

    fn tables(
        &mut self,
        keys: &[Key],
        found: &Spanned<DeValue<'_>>,
        line: usize,
        path: &str,
    ) -> Option<Value> {
        let DeValue::Array(items) = found.get_ref() else {
            let text = format!(
                "found {}, expected tables, `[[{path}]]`",
                type_name(found.get_ref())
            );
            self.problem(line, path, text);
            return None;
        };
        self.merged.forget_inside(path);
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let (path, line) = (format!("{path}[{index}]"), self.line(item));
            self.merged.place(&path, self.source.at(line));
            tables.extend(self.inner_table(keys, item.get_ref(), line, &path));
        }
        Some(Value::Array(tables))
    }

    /// Reads a table inside a repeated one. Its unset keys have no other layer, so defaults apply.
    fn inner_table(&mut self, keys: &[Key], found: &DeValue<'_>, line: usize, prefix: &str) -> Option<Value> {
        let DeValue::Table(entries) = found else {
            self.problem(
                line,
                prefix,
                format!("found {}, expected a table", type_name(found)),
            );
            return None;
        };
        let mut table = toml::Table::new();
        for (name, value) in entries {
            let line = self.lines.of(name.span().start);
            let path = join(prefix, name.get_ref());
            let Some(key) = keys.iter().find(|key| key.name == *name.get_ref()) else {
                self.unknown(keys, prefix, name.get_ref(), value.get_ref(), line);
                continue;
            };
            let value = match &key.kind {
                Kind::Table(keys) => self.inner_table(keys, value.get_ref(), line, &path),
                kind => self.value(kind, value, line, &path),
            };
            self.merged.place(&path, self.source.at(line));
            table.extend(value.map(|value| (key.name.clone(), value)));
        }
        for key in keys.iter().filter(|key| key.required) {
            if !entries.iter().any(|(name, _)| *name.get_ref() == key.name) {
                let text = format!("not set, expected {}", key.kind.expected(None));
                self.problem(line, &join(prefix, &key.name), text);
            }
        }
        Some(Value::Table(table))
    }

    fn unknown(&mut self, keys: &[Key], prefix: &str, name: &str, value: &DeValue<'_>, line: usize) {
        let what = if value.is_table() { "table" } else { "key" };
        let siblings = keys.iter().filter(|key| !key.hidden).map(|key| key.name.as_str());
        let better = nearest(name, siblings).map(ToOwned::to_owned);
        let better = better.or_else(|| self.schema.elsewhere(name));
        let text = format!("unknown {what}{}", hint(better.map(|name| format!("`{name}`"))));
        self.problem(line, &join(prefix, name), text);
    }
}
