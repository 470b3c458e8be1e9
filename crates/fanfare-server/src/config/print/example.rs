//! The example file.

use std::fmt::Write as _; // writing to a string cannot fail

use fanfare_core::Registry;

use super::{guarded, wrapped};
use crate::config::profile;
use crate::config::schema::{Key, Schema, Section};

const WIDTH: usize = 98;

const HEAD: &str = "\
The configuration of Fanfare. Every setting is here with its default, commented out by a `#` without a space \
after it; remove that `#` to change the setting. Environment variables take precedence over this file, and flags over \
both. `fanfare config check` lists the errors, `fanfare config show` prints the values in force.";

/// Returns a file with every setting, its documentation and its default, all commented out.
pub fn example(registry: Registry) -> String {
    let schema = Schema::new(registry);
    let mut text = String::new();
    comment(&mut text, HEAD);
    for section in schema.sections().filter(|section| !section.is_hidden()) {
        if let Some(key) = section.key {
            text.push('\n');
            comment(&mut text, key.doc());
            if key.repeats() {
                repeated(&mut text, registry, &schema, &section);
                continue;
            }
            let _ = writeln!(text, "[{}]", key.path);
        }
        for key in section.keys.iter().filter(|key| !key.is_file_form) {
            setting(&mut text, key);
        }
    }
    text
}

fn comment(text: &mut String, doc: &str) {
    for line in wrapped(doc, WIDTH) {
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
}

fn setting(text: &mut String, key: &Key) {
    text.push('\n');
    comment(text, key.doc());
    let value = key.default.as_ref().map(|default| guarded(key.kind(), default));
    let _ = writeln!(text, "#{} = {}", key.name(), value.unwrap_or_default());
}

/// Writes a repeated table: its keys, and then the tables of the default profile.
fn repeated(text: &mut String, registry: Registry, schema: &Schema, section: &Section<'_>) {
    for key in &section.keys {
        let inner: Vec<&str> = schema.children(&key.path).map(Key::name).collect();
        let inner = match inner.as_slice() {
            [] => String::new(),
            names => format!(" {{ {} }}", names.join(", ")),
        };
        comment(text, &format!("- {}{inner}: {}", key.name(), key.doc()));
    }
    if section.key.is_some_and(|key| key.path == "listener") {
        for listener in profile::documented_listeners(registry) {
            let _ = writeln!(
                text,
                "\n#[[listener]]\n#bind = {:?}\n#dialects = {:?}",
                listener.bind, listener.dialects
            );
        }
    }
}

/// Returns the example with every setting uncommented, to prove that its values are the defaults.
#[cfg(test)]
pub(in crate::config) fn switched_on(example: &str) -> String {
    let switch = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    example.lines().map(switch).collect::<Vec<_>>().join("\n")
}
