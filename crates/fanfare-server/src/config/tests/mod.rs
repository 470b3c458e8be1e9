//! The configuration as a whole: sources in, settings and problems out.
#![allow(clippy::unwrap_used)]

mod access;
mod bad;
pub(crate) mod fixture;
mod forms;
mod good;
mod noise;
mod placement;
mod printed;
mod profiles;
mod rules;

use std::path::PathBuf;

use fanfare_core::Registry;

use super::{ConfigErrors, Loaded, Sources, load};

/// Loads `toml` as the file `fanfare.toml` in a new folder, with this environment.
///
/// Errors show the folder as `DIR`.
fn load_text(toml: &str, env: &[(&str, &str)], registry: Registry) -> Result<Loaded, String> {
    load_with(
        toml,
        Sources {
            env: pairs(env),
            ..Sources::default()
        },
        registry,
    )
}

fn load_with(toml: &str, sources: Sources, registry: Registry) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("fanfare.toml");
    std::fs::write(&file, toml.replace("DIR", &folder.path().display().to_string())).unwrap();
    for (name, contents) in FILES {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    let hide = |text: String| text.replace(&folder.path().display().to_string(), "DIR");
    load(
        &Sources {
            file: Some(file),
            ..sources
        },
        registry,
    )
    .map_err(|errors: ConfigErrors| hide(errors.to_string()))
}

/// Files beside the configuration.
const FILES: [(&str, &str); 7] = [
    ("empty", "\n"),
    ("secret", "0123456789abcdef0123456789abcdef\n"),
    ("short", "hunter2\n"),
    (
        "two",
        "0123456789abcdef0123456789abcdef\r\n\nfedcba9876543210fedcba9876543210\n",
    ),
    (
        "cert.pem",
        "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
    ),
    (
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
    ),
    (
        "public.pem",
        "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n",
    ),
];

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
