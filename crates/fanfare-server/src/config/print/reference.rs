//! The configuration reference.

use std::fmt::Write as _; // writing to a string cannot fail

use fanfare_core::{Inherited, Registry, Target, Unit};

use super::guarded;
use crate::config::environment::{self, RESERVED};
use crate::config::load::DEFAULT_FILES;
use crate::config::profile;
use crate::config::schema::{Key, Schema, Section, environment_name};

/// The text around the tables, which `{…}` stand for.
const TEXT: &str = include_str!("reference.md");

/// Returns the reference of all settings, as Markdown.
pub fn reference(registry: Registry) -> String {
    let lines = |rows: Vec<(String, String)>| -> String {
        let line = |(name, doc)| format!("| `{name}` | {doc} |\n");
        rows.into_iter().map(line).collect()
    };
    let variables = RESERVED.map(|(name, doc)| (name.to_owned(), doc.to_owned()));
    let inherited = environment::inherited(registry).map(|(kind, inherited)| {
        let effect = effect(kind.map(|kind| kind.name), inherited);
        (inherited.variable.to_owned(), effect)
    });
    let files = DEFAULT_FILES.map(|file| format!("`{file}`")).join(" and ");
    let mut text = TEXT
        .replace("{files}", &files)
        .replace("{profiles}", &lines(profile::list(registry)))
        .replace("{dialects}", &lines(profile::dialects(registry)))
        .replace("{variables}", &lines(variables.into()))
        .replace("{inherited}", &lines(inherited.collect()));
    let schema = Schema::new(registry);
    for section in schema.sections() {
        match section.key {
            Some(key) if key.hidden => continue,
            Some(key) if key.repeats() => {
                let _ = writeln!(text, "\n## `[[{}]]`\n\n{}\n", key.path, cell(key.doc()));
                text.push_str("| key | type | default | description |\n|---|---|---|---|\n");
                repeated_rows(&mut text, &schema, &key.inside());
                continue;
            }
            Some(key) => {
                let _ = writeln!(text, "\n## `[{}]`\n\n{}\n", key.path, cell(key.doc()));
            }
            None => text.push_str("\n## Top level\n\n"),
        }
        rows(&mut text, &section);
    }
    text
}

/// Returns the effect of an inherited variable of a dialect.
fn effect(dialect: Option<&str>, inherited: &Inherited) -> String {
    let unit = match inherited.unit {
        Unit::Plain => "",
        Unit::Seconds => ", a bare number in seconds",
        Unit::Milliseconds => ", a bare number in milliseconds",
    };
    let name = dialect.unwrap_or_default();
    match inherited.target {
        Target::Key(key) => format!("`{key}`{unit}"),
        Target::Port => format!("the port of the listeners with `{name}`{unit}"),
        Target::Host => format!("the host of the listeners with `{name}`{unit}"),
        Target::Enabled => format!("`false` takes `{name}` off every listener{unit}"),
    }
}

fn rows(text: &mut String, section: &Section<'_>) {
    text.push_str("| key | type | default | environment | description |\n|---|---|---|---|---|\n");
    for key in section.keys.iter().filter(|key| !key.is_file_form) {
        let (name, variable, title) = (key.name(), environment_name(&key.path), key.kind().title());
        let (default, doc) = (default(key), cell(key.doc()));
        let _ = writeln!(text, "| `{name}` | {title} | {default} | `{variable}` | {doc} |");
    }
}

/// Writes the keys of a table that repeats, and of the tables in it.
fn repeated_rows(text: &mut String, schema: &Schema, table: &str) {
    for key in schema.children(table) {
        let (_, path) = key.path.split_once("[].").unwrap_or_default();
        let (title, default, doc) = (key.kind().title(), default(key), cell(key.doc()));
        let _ = writeln!(text, "| `{path}` | {title} | {default} | {doc} |");
        repeated_rows(text, schema, &key.path);
    }
}

fn default(key: &Key) -> String {
    match &key.default {
        Some(value) => format!("`{}`", guarded(key.kind(), value)),
        None if key.required => "must be set".to_owned(),
        None => "none".to_owned(),
    }
}

/// Returns a doc comment as a cell of a Markdown table.
fn cell(doc: &str) -> String {
    let words: Vec<_> = doc.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}
