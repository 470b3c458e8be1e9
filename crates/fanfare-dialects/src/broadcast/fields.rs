//! Writes a JSON object field by field, in the given order; values that are JSON are copied byte for byte.

use std::time::SystemTime;

use fanfare_core::timestamp;

use crate::text::quoted;

/// An object's text, open at its end.
pub(super) struct Fields(String);

impl Fields {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    pub(super) fn of_type(kind: &str) -> Self {
        Self::new().text("type", kind)
    }

    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &quoted(text))
    }

    pub(super) fn number(self, name: &str, number: u64) -> Self {
        self.raw(name, &number.to_string())
    }

    pub(super) fn time(self, name: &str, time: SystemTime) -> Self {
        self.raw(name, &format!("\"{}\"", timestamp(time)))
    }

    pub(super) fn done(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
