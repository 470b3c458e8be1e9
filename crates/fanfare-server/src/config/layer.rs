//! One layer of the configuration: the values of one source, checked against the schema.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::found::{Lines, type_name};
use super::kind::{Kind, hint, nearest};
use super::merged::Merged;
use super::origin::{Origin, Problem};
use super::schema::{FILE_SUFFIX, Key, Schema, join};

/// Reads the values of one source over those of earlier ones.
pub(super) struct Reader<'a> {
    schema: &'a Schema,
    source: Origin,
    lines: Lines,
    merged: &'a mut Merged,
}

impl<'a> Reader<'a> {
    pub(super) fn new(schema: &'a Schema, source: Origin, merged: &'a mut Merged) -> Self {
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

    pub(super) fn document(&mut self, text: &str) {
        self.lines = Lines::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        // A document that was guessed from broken syntax would only cause false errors.
        for error in &errors {
            let line = error.span().map_or(1, |span| self.lines.of(span.start));
            self.problem(line, "", format!("not TOML: {}", error.message()));
        }
        if errors.is_empty() {
            let values = self.table("", table.get_ref(), "");
            self.merged.values.merge(values);
        }
    }

    /// Reads one value that is plain text, as the environment has it.
    pub(super) fn plain(&mut self, path: &str, text: &str) {
        if let Some(key) = self.schema.find(path) {
            self.toml(path, &key.kind().to_toml(text));
        }
    }

    pub(super) fn toml(&mut self, path: &str, text: &str) {
        let value = DeValue::parse(text);
        let value = value.unwrap_or_else(|_| Spanned::new(0..0, DeValue::String(text.into())));
        if let Some(key) = self.schema.find(path)
            && let Some(value) = self.value(key, &value, 0, path)
        {
            self.merged.values.set(path, value);
        }
    }

    fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        self.lines.of(value.span().start)
    }

    /// Reads the table at `path`, whose keys are those of `table` in the schema.
    fn table(&mut self, table: &str, entries: &DeTable<'_>, path: &str) -> Table {
        let mut values = Table::new();
        for (name, found) in entries {
            let (name, line) = (name.get_ref(), self.lines.of(name.span().start));
            let path = join(path, name);
            match self.schema.children(table).find(|key| key.name() == *name) {
                Some(key) => {
                    let value = self.value(key, found, line, &path);
                    values.extend(value.map(|value| (name.to_string(), value)));
                }
                None => self.unknown(table, name, found.get_ref(), line, &path),
            }
        }
        values
    }

    /// Reads the value of one key, and records where it was set.
    fn value(&mut self, key: &Key, found: &Spanned<DeValue<'_>>, line: usize, path: &str) -> Option<Value> {
        let value = match found.get_ref() {
            DeValue::Table(entries) if key.is_table() => self.whole_table(&key.path, entries, line, path),
            DeValue::Array(items) if key.repeats() => self.tables(key, items, path)?,
            found if key.is_table() || key.repeats() => {
                let expected = match (key.is_repeated(), key.repeats()) {
                    (true, _) => "a table".to_owned(),
                    (_, true) => format!("tables, `[[{path}]]`"),
                    (_, false) => format!("a table, `[{path}]`"),
                };
                let text = format!("found {}, expected {expected}", type_name(found));
                self.problem(line, path, text);
                return None;
            }
            _ => self.setting(key, key.kind(), found, line, path)?,
        };
        self.merged.record_origin(path, self.source.at(line));
        if key.is_file_form {
            let of = path.strip_suffix(FILE_SUFFIX).unwrap_or(path).to_owned();
            let file = value.as_str().unwrap_or_default().into();
            self.merged.files.insert(of, file);
            return None;
        }
        Some(value)
    }

    /// Reads the value of a key that is no table, or an item of its list.
    fn setting(
        &mut self,
        key: &Key,
        kind: Kind<'_>,
        found: &Spanned<DeValue<'_>>,
        line: usize,
        path: &str,
    ) -> Option<Value> {
        if let (Some(item), DeValue::Array(items)) = (kind.item(), found.get_ref()) {
            let read = |found| self.setting(key, item, found, self.line(found), path);
            let values: Vec<Option<Value>> = items.iter().map(read).collect();
            return values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array);
        }
        let value = self.schema.check(key, kind, found.get_ref());
        value.map_err(|text| self.problem(line, path, text)).ok()
    }

    fn tables(&mut self, key: &Key, items: &[Spanned<DeValue<'_>>], path: &str) -> Option<Value> {
        self.merged.remove_origins_inside(path);
        let before = self.merged.problems.len();
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let (path, line) = (format!("{path}[{index}]"), self.line(item));
            self.merged.record_origin(&path, self.source.at(line));
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(self.whole_table(&key.inside(), entries, line, &path)),
                found => {
                    let text = format!("found {}, expected a table", type_name(found));
                    self.problem(line, &path, text);
                }
            }
        }
        (self.merged.problems.len() == before).then_some(Value::Array(tables))
    }

    /// Reads a table and looks for its required keys, which only tables that repeat have.
    fn whole_table(&mut self, table: &str, entries: &DeTable<'_>, line: usize, path: &str) -> Value {
        let values = self.table(table, entries, path);
        for key in self.schema.children(table).filter(|key| key.required) {
            if !entries.iter().any(|(name, _)| *name.get_ref() == key.name()) {
                let text = format!("not set, expected {}", key.kind().expected(None));
                self.problem(line, &join(path, key.name()), text);
            }
        }
        Value::Table(values)
    }

    fn unknown(&mut self, table: &str, name: &str, found: &DeValue<'_>, line: usize, path: &str) {
        let what = if found.is_table() { "table" } else { "key" };
        let shown = self.schema.children(table).filter(|key| !key.hidden);
        let better = nearest(name, shown.map(Key::name)).or_else(|| self.schema.elsewhere(name));
        let text = format!("unknown {what}{}", hint(better.map(|name| format!("`{name}`"))));
        self.problem(line, path, text);
    }
}
