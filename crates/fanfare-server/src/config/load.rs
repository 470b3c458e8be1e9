//! Merges the layers: defaults, profile, file, environment, command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fanfare_core::Registry;
use toml::de::DeValue;

use super::found::variable;
use super::kind::did_you_mean;
use super::layer::Reader;
use super::merged::Merged;
use super::model::Config;
use super::origin::{ConfigErrors, Origin, Origins, Problem, Sources};
use super::schema::{Key, Schema};
use super::values::{SettingValues, typed};
use super::{checks, derived, environment, placement, profile, secret_files};
use crate::telemetry;

/// The default files; the first that exists is read.
pub const DEFAULT_FILES: [&str; 2] = ["fanfare.toml", "/etc/fanfare/fanfare.toml"];

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective settings.
    pub config: Config,
    /// The origin of each.
    pub origins: Origins,
    /// Settings that are allowed but doubtful.
    pub warnings: Vec<Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The profile in force.
    pub profile: String,
    /// The log filter for `tracing_subscriber`: `FANFARE_LOG`, or else `log.level`.
    pub log_filter: String,
    /// The effective values as they were written, for printing.
    pub(super) values: SettingValues,
    /// The files that secrets were read from, by key.
    pub(super) files: BTreeMap<String, PathBuf>,
}

impl Loaded {
    /// Returns this configuration with `keys` as they are in `started`: the values in force after a reload.
    pub(crate) fn keeping(mut self, started: &Self, keys: &[String]) -> Self {
        for key in keys {
            if let Some(value) = started.values.get(key) {
                self.values.set(key, value.clone());
            }
            match started.files.get(key) {
                Some(file) => self.files.insert(key.clone(), file.clone()),
                None => self.files.remove(key),
            };
            let of_key = |origin: &String| origin == key || origin.starts_with(&format!("{key}["));
            self.origins.0.retain(|origin, _| !of_key(origin));
            let kept = started.origins.0.iter().filter(|(origin, _)| of_key(origin));
            let kept = kept.map(|(key, origin)| (key.clone(), origin.clone()));
            self.origins.0.extend(kept);
        }
        self
    }

    /// Returns the keys whose values differ in `other`, without the values.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let schema = Schema::new(self.config.registry);
        let differs = |key: &&Key| self.values.get(&key.path) != other.values.get(&key.path);
        let keys = schema.leaves().filter(differs);
        keys.map(|key| key.path.clone()).collect()
    }

    /// Returns whether the value of `key` was configured, as opposed to a default or a profile.
    pub fn is_configured(&self, key: &str) -> bool {
        self.origins.of(key).is_configured()
    }

    /// Returns a problem with the value of `key`, with the origin of the value.
    pub(crate) fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        Problem::new(self.origins.of(key).clone(), self.set_by(key), text)
    }

    /// Returns the key that set `key`: itself, or its `_file` form.
    pub(crate) fn set_by(&self, key: &str) -> String {
        secret_files::set_by(&self.files, key)
    }
}

/// Loads and checks the configuration.
///
/// # Errors
/// All errors at once.
pub fn load(sources: &Sources, registry: Registry) -> Result<Loaded, ConfigErrors> {
    let schema = Schema::new(registry);
    let env = &sources.env;
    let choice = profile::ProfileChoice::new(sources);
    let named_file = sources.file.as_deref();
    let named_file = named_file.or_else(|| variable(env, "FANFARE_CONFIG").map(Path::new));

    let mut merged = Merged {
        values: schema.defaults(),
        ..Merged::default()
    };
    let (placements, problems) = placement::read(registry, env);
    merged.problems.extend(problems);
    profile::read(&schema, registry, &placements, &choice, &mut merged);
    let by_profile = merged.origins.of("listener").clone();
    let file = read_file(&schema, named_file, &mut merged);
    environment::read_inherited(&schema, registry, env, &mut merged);
    environment::read(&schema, env, &mut merged);
    for (key, text) in &sources.overrides {
        read_flag(&schema, key, text, &mut merged);
    }
    choice.check_listeners(&by_profile, &mut merged);
    secret_files::read(&schema, &mut merged);
    derived::fill(&mut merged, registry);

    // Every value passed its own check. If they fail together, the server must not run with defaults.
    let mut config = typed(registry, merged.values.clone()).unwrap_or_else(|_| {
        let text = "has a value that passed the checks and cannot be used";
        let problem = Problem::new(Origin::Default, "config", text);
        merged.problems.push(problem);
        Config {
            registry,
            ..Config::default()
        }
    });
    let log_filter = log_filter(env, &mut merged);
    let checks::Checker {
        problems: wrong,
        mut warnings,
        closes_door,
        ..
    } = checks::run(&config, &choice.profile, &placements, &merged);
    if closes_door {
        config.resp.bind = None;
    }
    let mut problems = merged.problems;
    problems.extend(wrong);
    if !problems.is_empty() {
        problems.sort_by_key(Problem::rank);
        problems.dedup();
        return Err(ConfigErrors { problems });
    }
    warnings.sort_by_key(Problem::rank);
    Ok(Loaded {
        config,
        origins: merged.origins,
        warnings,
        file,
        profile: choice.profile,
        log_filter,
        values: merged.values,
        files: merged.files,
    })
}

/// Reads the named file, or else the first of [`DEFAULT_FILES`] that exists, or else none. Returns its path.
fn read_file(schema: &Schema, named: Option<&Path>, merged: &mut Merged) -> Option<PathBuf> {
    let mut defaults = DEFAULT_FILES.iter().map(Path::new);
    let file = named.or_else(|| defaults.find(|file| file.exists()))?.to_owned();
    let origin = Origin::File {
        file: file.clone(),
        line: 0,
    };
    let mut reader = Reader::new(schema, origin, merged);
    match std::fs::read_to_string(&file) {
        Ok(text) => reader.document(&text),
        Err(reason) => reader.problem(0, "", format!("cannot be read: {reason}")),
    }
    Some(file)
}

fn read_flag(schema: &Schema, path: &str, text: &str, merged: &mut Merged) {
    let mut reader = Reader::new(schema, Origin::Flag(path.to_owned()), merged);
    if schema.find(path).is_none() {
        let hint = did_you_mean(path, schema.leaves().map(|key| key.path.as_str()), '`');
        return reader.problem(0, "", format!("unknown key{hint}"));
    }
    // `--set broker.kind=redis` needs no quotes, and a secret of digits is not a number.
    match DeValue::parse(text) {
        Ok(value) if value.get_ref().is_str() => reader.toml(path, text),
        _ => reader.plain(path, text),
    }
}

fn log_filter(env: &[(String, String)], merged: &mut Merged) -> String {
    const VARIABLE: &str = "FANFARE_LOG";
    let Some(filter) = variable(env, VARIABLE) else {
        return merged.values.text("log.level").to_owned();
    };
    if let Err(reason) = telemetry::filter(filter) {
        let text = format!("found {filter:?}, expected a filter such as \"info,hyper=debug\" ({reason})");
        let origin = Origin::Environment(VARIABLE.to_owned());
        merged.problems.push(Problem::new(origin, "", text));
    }
    filter.to_owned()
}
