//! The forms of a text, by their names in the JSON schema (`x-kind`).

use std::fmt;
use std::str::FromStr;

use fanfare_accounts::storage::StorageUrl;
use fanfare_core::{GuardedUrl, HIDDEN, Pattern};

use super::bind_address::BindAddress;
use super::history::ByteSize;
use super::types::parse_network;

/// A form of a text.
#[derive(Debug)]
pub(super) struct Form {
    kind: &'static str,
    /// Its name in the configuration reference.
    pub(super) title: &'static str,
    /// The expected form, in an error message.
    pub(super) expected: &'static str,
    /// Checks a text. The error is the reason, or empty if `expected` is enough.
    pub(super) check: fn(&str) -> Result<(), String>,
    /// How to print a text that may contain a secret.
    pub(super) guard: Option<fn(&str) -> String>,
}

/// Any text.
pub(super) const PLAIN: Form = Form {
    kind: "",
    title: "string",
    expected: "a text",
    check: |_| Ok(()),
    guard: None,
};

const FORMS: [Form; 8] = [
    Form {
        kind: "address",
        title: "address",
        expected: "an address with a port such as \"0.0.0.0:8081\", \"localhost:8081\" or \":8081\"",
        check: |text| text.parse::<BindAddress>().map(drop).map_err(|_| String::new()),
        ..PLAIN
    },
    Form {
        kind: "database",
        title: "URL",
        expected: StorageUrl::EXPECTED,
        check: |text| text.parse::<StorageUrl>().map(drop).map_err(str::to_owned),
        guard: Some(without_password::<StorageUrl>),
    },
    Form {
        kind: "network",
        title: "network",
        expected: "a network such as \"10.0.0.0/8\"",
        check: |text| parse_network(text).map(drop).map_err(|_| String::new()),
        ..PLAIN
    },
    Form {
        kind: "path",
        title: "path",
        expected: "a path",
        ..PLAIN
    },
    Form {
        kind: "pattern",
        title: "pattern",
        expected: "a pattern of channels such as \"news.*\"",
        check: |text| Pattern::new(text).map(drop).map_err(|reason| reason.to_string()),
        ..PLAIN
    },
    Form {
        kind: "secret",
        title: "secret",
        guard: Some(|_| HIDDEN.to_owned()),
        ..PLAIN
    },
    Form {
        kind: "size",
        title: "size",
        expected: "a number of bytes with its unit such as \"64MiB\"",
        check: |text| text.parse::<ByteSize>().map(drop),
        ..PLAIN
    },
    Form {
        kind: "url",
        title: "URL",
        expected: "a URL with its scheme, such as \"https://example.com\"",
        check: |text| text.parse::<GuardedUrl>().map(drop).map_err(|_| String::new()),
        guard: Some(without_password::<GuardedUrl>),
    },
];

fn without_password<T: FromStr + fmt::Display>(text: &str) -> String {
    text.parse::<T>()
        .map_or_else(|_| HIDDEN.to_owned(), |url| url.to_string())
}

impl Form {
    /// Returns the form of this name; `None` is any text.
    pub(super) fn named(kind: Option<&str>) -> &'static Self {
        let named = FORMS.iter().find(|form| Some(form.kind) == kind);
        named.unwrap_or(&PLAIN)
    }

    /// Returns whether a setting of this form is a feature that an empty text switches off.
    pub(super) fn may_be_off(&self) -> bool {
        self.kind == "address"
    }

    /// Returns whether any text has this form.
    pub(super) fn is_plain(&self) -> bool {
        self.kind.is_empty()
    }
}
