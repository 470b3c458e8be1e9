//! The environment layers: Fanfare's own variables, and those with other servers' names.

use fanfare_core::{DialectKind, Inherited, Registry, Target, Unit};

use super::found::variable;
use super::kind::{hint, nearest};
use super::layer::Reader;
use super::merged::Merged;
use super::origin::Origin;
use super::profile;
use super::schema::{Schema, environment_name};
use super::types::without_line_ends;

/// Variables that begin with `FANFARE_` and are not settings.
pub(super) const RESERVED: [(&str, &str); 6] = [
    ("FANFARE_CONFIG", "The configuration file, as in `--config`."),
    ("FANFARE_PROFILE", "The profile, as in `--profile`."),
    (
        profile::DIALECTS,
        "The only dialects to serve, as in `--dialect`, separated by commas.",
    ),
    (
        "FANFARE_LOG",
        "A log filter by module, such as `info,hyper=debug`, instead of `log.level`.",
    ),
    (
        "FANFARE_API_KEY",
        "The API key for `fanfare publish`, as in `--key`.",
    ),
    (
        "FANFARE_TOKEN",
        "The token for `fanfare listen`, as in `--token`.",
    ),
];

/// Variables with other servers' names. Of several for one key, the first takes precedence.
pub(super) static INHERITED: [Inherited; 4] = [
    Inherited::key("JWT_SECRET_KEY", "auth.jwt_secret"),
    Inherited::key("PUBSUB_ADAPTER", "broker.kind"),
    Inherited::key("PUBSUB_REDIS_URL", "broker.url"),
    Inherited::key("REDIS_URL", "broker.url"),
];

/// Returns all inherited variables of a build, each with the dialect that declares it.
pub(super) fn inherited(
    registry: Registry,
) -> impl Iterator<Item = (Option<&'static DialectKind>, &'static Inherited)> {
    let common = INHERITED.iter().map(|inherited| (None, inherited));
    common.chain(registry.iter().flat_map(|kind| {
        let own = kind.inherited.iter();
        own.map(move |inherited| (Some(kind), inherited))
    }))
}

/// Reads the variables with other servers' names. `FANFARE_…` takes precedence.
pub(super) fn read_inherited(
    schema: &Schema,
    registry: Registry,
    env: &[(String, String)],
    merged: &mut Merged,
) {
    let mut taken: Vec<&str> = Vec::new();
    for (_, inherited) in inherited(registry) {
        let (Some(text), Target::Key(key)) = (variable(env, inherited.variable), inherited.target) else {
            continue;
        };
        if !taken.contains(&key) {
            taken.push(key);
            let source = Origin::Environment(inherited.variable.to_owned());
            Reader::new(schema, source, merged).plain(key, &with_unit(text, inherited.unit));
        }
    }
}

fn with_unit(text: &str, unit: Unit) -> String {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match unit {
        Unit::Seconds if is_number => format!("{text}s"),
        Unit::Milliseconds if is_number => format!("{text}ms"),
        Unit::Plain | Unit::Seconds | Unit::Milliseconds => text.to_owned(),
    }
}

pub(super) fn read(schema: &Schema, env: &[(String, String)], merged: &mut Merged) {
    let names: Vec<(String, &str)> = schema
        .leaves()
        .map(|key| (environment_name(&key.path), key.path.as_str()))
        .collect();
    for (variable, text) in env {
        let text = without_line_ends(text);
        let is_ours = variable.starts_with("FANFARE_") && !text.is_empty();
        if !is_ours || RESERVED.iter().any(|(name, _)| name == variable) {
            continue;
        }
        let mut reader = Reader::new(schema, Origin::Environment(variable.to_owned()), merged);
        if let Some((_, path)) = names.iter().find(|(name, _)| name == variable) {
            reader.plain(path, text);
        } else if !is_service_link(variable, text) {
            let names = names.iter().map(|(name, _)| name.as_str());
            reader.problem(0, "", unknown(variable, names));
        }
    }
}

fn unknown<'a>(variable: &str, names: impl Iterator<Item = &'a str>) -> String {
    // The common prefix would make all names similar.
    let bare = |name: &'a str| name.strip_prefix("FANFARE_").unwrap_or(name);
    let reserved = RESERVED.iter().map(|(name, _)| *name);
    let names: Vec<&str> = names.chain(reserved).map(bare).collect();
    let word = variable.strip_prefix("FANFARE_").unwrap_or_default();
    // `FANFARE_JWT_SECRET` is a key whose table is missing.
    let end = format!("_{word}");
    let without_table = || names.iter().copied().find(|name| name.ends_with(&end));
    let near = nearest(word, names.iter().copied()).or_else(without_table);
    let hint = hint(near.map(|name| format!("FANFARE_{name}")));
    format!("unknown variable{hint}")
}

/// Returns whether an orchestrator made the variable: Kubernetes describes a service `fanfare` or `fanfare-…` to every
/// pod of its namespace, in the manner of Docker links (`FANFARE_SERVICE_HOST`, `FANFARE_PORT_8081_TCP_ADDR`).
fn is_service_link(variable: &str, text: &str) -> bool {
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = |rest: &str| rest.split('_').next().is_some_and(is_number);
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || (variable.ends_with("_PORT") && text.contains("://")) // otherwise it may be a misspelt setting
        || variable.split_once("_PORT_").is_some_and(|(_, rest)| numbered(rest))
}
