//! Standard output. A closed pipe, as after `head`, is not an error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use serde_json::Value;

pub(super) fn line(text: impl Display) {
    write(format_args!("{text}\n"));
}

pub(super) fn text(text: impl Display) {
    write(text);
}

/// Escapes the characters of an untrusted text that a terminal would obey: control characters, and those that change the
/// direction of the text around them.
pub(super) fn shown(words: &str) -> String {
    let escaped = |one: char| {
        if one.is_control() || matches!(one, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            one.escape_default().to_string()
        } else {
            one.to_string()
        }
    };
    words.chars().map(escaped).collect()
}

/// Returns an event of the service API on one line, with the caller's forms of the time and of the data.
pub(super) fn event(paint: Paint, event: &Value, at: &str, data: &str) -> String {
    let word = |name: &str| event[name].as_str().map(shown);
    let to = match (word("channel"), word("user")) {
        (Some(channel), _) => channel,
        (None, Some(user)) => format!("@{user}"),
        (None, None) => "everyone".into(),
    };
    let kind = word("type").unwrap_or_else(|| "-".into());
    let by = word("sender").map(|sender| format!(" {}", paint.faint(&format!("by {sender}"))));
    format!(
        "{} {} {kind}{} {data}",
        paint.faint(&shown(at)),
        paint.strong(&to),
        by.unwrap_or_default()
    )
}

/// Colours, on a terminal that has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// Paints if the output `is_terminal` and the user has not disabled colours (<https://no-color.org>).
    pub(super) fn new(is_terminal: bool) -> Self {
        let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(is_terminal && !is_off)
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Paints an event's outcome: delivered, under way, or not delivered.
    pub(super) fn outcome(self, outcome: &str, text: &str) -> String {
        let code = match outcome {
            "acknowledged" | "written" => "32",
            "queued" | "undecided" | "unknown" => "33",
            _ => "31",
        };
        self.paint(code, text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn write(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{text}").and_then(|()| out.flush()) {
        let code = i32::from(error.kind() != ErrorKind::BrokenPipe);
        std::process::exit(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(
            shown("\u{202a}\u{202e}\u{2066}\u{2069}"),
            "\\u{202a}\\u{202e}\\u{2066}\\u{2069}"
        );
        assert_eq!(shown("Zoë \u{5d0} 日本"), "Zoë \u{5d0} 日本");
    }
}
