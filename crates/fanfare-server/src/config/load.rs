//! Merges the layers: defaults, profile, file, environment, command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use fanfare_core::Registry;
use toml::Value;
use toml::de::DeValue;

use super::found::variable;
use super::kind::{hint, nearest};
use super::layer::{Reader, Source};
use super::merged::Merged;
use super::model::Config;
use super::origin::{ConfigErrors, Origin, Origins, Problem};
use super::schema::Schema;
use super::sources::Sources;
use super::{checks, derived, environment, file, placement, profile, secret_files};
use crate::telemetry;

/// A configuration that passed every check.
#[derive(Clone)]
pub struct Loaded {
    /// The effective settings.
    pub config: Config,
    /// The origin of each.
    pub origins: Origins,
    /// Settings that are allowed and doubtful.
    pub warnings: Vec<Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The profile in force.
    pub profile: String,
    /// The log filter for `tracing_subscriber`: `FANFARE_LOG`, or else `log.level`.
    pub log_filter: String,
    /// The effective values as they were written, for printing.
    pub(super) values: BTreeMap<String, Value>,
    /// The files that secrets were read from, by key.
    pub(super) files: BTreeMap<String, PathBuf>,
}

/// The written values contain secrets, so they are not shown.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config,
            origins,
            warnings,
            file,
            profile,
            log_filter,
            values: _,
            files,
        } = self;
        f.debug_struct("Loaded")
            .field("config", config)
            .field("origins", origins)
            .field("warnings", warnings)
            .field("file", file)
            .field("profile", profile)
            .field("log_filter", log_filter)
            .field("files", files)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// This configuration, but `keys` as they are in `started`: what is in force once it was read again. It is for printing.
    pub(crate) fn keeping(mut self, started: &Self, keys: &[String]) -> Self {
        for key in keys {
            match started.values.get(key) {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(key),
            };
            match started.files.get(key) {
                Some(file) => self.files.insert(key.clone(), file.clone()),
                None => self.files.remove(key),
            };
            let of_key = |origin: &String| origin == key || origin.starts_with(&format!("{key}["));
            self.origins.0.retain(|origin, _| !of_key(origin));
            let kept = started.origins.0.iter().filter(|(origin, _)| of_key(origin));
            self.origins
                .0
                .extend(kept.map(|(key, origin)| (key.clone(), origin.clone())));
        }
        self
    }

    /// Returns the keys whose values differ in `other`, without the values.
    pub fn changed_keys<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let keys: BTreeSet<&String> = self.values.keys().chain(other.values.keys()).collect();
        let differs = |key: &&String| self.values.get(*key) != other.values.get(*key);
        keys.into_iter().filter(differs).map(String::as_str)
    }

    /// Returns whether the value of `key` was configured, as opposed to a default or a profile.
    pub fn is_configured(&self, key: &str) -> bool {
        self.origins.of(key).is_configured()
    }

    /// Returns a problem with the value of `key`, with the origin of the value.
    pub(crate) fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        Problem::new(self.origins.of(key).clone(), self.set_by(key), text)
    }

    /// The key that `key` was set by: itself, or the one that names its file.
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
    let choice = profile::Choice::new(sources);
    let named_file = sources.file.as_deref();
    let named_file = named_file.or_else(|| variable(env, "FANFARE_CONFIG").map(Path::new));

    let mut merged = Merged::with_defaults(&schema);
    let (placements, problems) = placement::read(registry, env);
    merged.problems.extend(problems);
    profile::read(&schema, registry, &placements, &choice, &mut merged);
    let by_profile = merged.origins.of("listener").clone();
    let file = file::read(&schema, named_file, &mut merged);
    environment::read_inherited(&schema, registry, env, &mut merged);
    environment::read(&schema, env, &mut merged);
    for (key, text) in &sources.overrides {
        read_flag(&schema, key, text, &mut merged);
    }
    choice.check_listeners(&by_profile, &mut merged);
    secret_files::read(&schema, &mut merged);
    derived::fill(&mut merged, registry);

    let config = merged.build(registry).unwrap_or_else(|problem| {
        merged.problems.push(problem);
        Config {
            registry,
            ..Config::default()
        }
    });
    let log_filter = log_filter(env, &config, &mut merged.problems);
    let mut checked = checks::Checker {
        config,
        profile: choice.profile,
        placements,
        merged,
        warnings: Vec::new(),
    };
    checks::run(&mut checked);
    let checks::Checker {
        config,
        profile,
        merged,
        mut warnings,
        ..
    } = checked;
    let mut problems = merged.problems;
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
        profile,
        log_filter,
        values: merged.values,
        files: merged.files,
    })
}

fn read_flag(schema: &Schema, path: &str, text: &str, merged: &mut Merged) {
    let mut reader = Reader::new(schema, Source::Flag(path.to_owned()), merged);
    if schema.find(path).is_none() {
        let paths: Vec<String> = schema.leaves().into_iter().map(|(path, _)| path).collect();
        let hint = hint(nearest(path, paths.iter().map(String::as_str)).map(|near| format!("`{near}`")));
        return reader.problem(0, "", format!("unknown key{hint}"));
    }
    // `--set broker.kind=redis` needs no quotes, and a secret of digits is not a number.
    match DeValue::parse(text) {
        Ok(value) if value.get_ref().is_str() => reader.toml(path, text),
        _ => reader.plain(path, text),
    }
}

fn log_filter(env: &[(String, String)], config: &Config, problems: &mut Vec<Problem>) -> String {
    const VARIABLE: &str = "FANFARE_LOG";
    let Some(filter) = variable(env, VARIABLE) else {
        return config.log.level.name().to_owned();
    };
    if let Err(reason) = telemetry::filter(filter) {
        let text = format!("found {filter:?}, expected a filter such as \"info,hyper=debug\" ({reason})");
        problems.push(Problem::new(Origin::Environment(VARIABLE.to_owned()), "", text));
    }
    filter.to_owned()
}
