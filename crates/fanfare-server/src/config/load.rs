//! Puts the layers together: defaults, profile, file, environment, command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use fanfare_core::Options;
use serde::Deserialize;
use toml::Value;

use super::dialect::{DialectConfig, DialectInfo};
use super::kind::{Kind, hint, nearest};
use super::layer::{Layer, Reader, Source};
use super::model::Config;
use super::origin::{ConfigErrors, Origin, Origins, Problem};
use super::raw::{Item, Raw};
use super::schema::Schema;
use super::{checks, derived, environment, file, placement, profile};
use crate::telemetry;

/// What a configuration is loaded from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file that `--config` names. It must exist. Without it the first of the default files that exists
    /// is read, if any.
    pub file: Option<PathBuf>,
    /// The profile that `--profile` names.
    pub profile: Option<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Values from the command line: a key such as `resp.bind`, and its value in TOML or as plain text.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process, and neither a file nor flags. Variables that are not Unicode are left
    /// out: none of ours can be meant.
    pub fn from_process() -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self {
            env: env.collect(),
            ..Self::default()
        }
    }
}

/// The environment and the flags may hold secrets, so neither is shown.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            profile,
            env: _,
            overrides: _,
        } = self;
        f.debug_struct("Sources")
            .field("file", file)
            .field("profile", profile)
            .finish_non_exhaustive()
    }
}

/// A configuration that passed every check.
#[derive(Clone)]
pub struct Loaded {
    /// The effective settings.
    pub config: Config,
    /// Where each of them was set.
    pub origins: Origins,
    /// What is allowed, and doubtful.
    pub warnings: Vec<Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The profile in force.
    pub profile: String,
    /// What to log, as a filter that `tracing_subscriber` understands: `FANFARE_LOG`, or else `log.level`.
    pub log_filter: String,
    /// The effective values as they were written, for printing.
    pub(super) values: BTreeMap<String, Value>,
}

/// The values as they were written hold secrets, so they are not shown.
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
        } = self;
        f.debug_struct("Loaded")
            .field("config", config)
            .field("origins", origins)
            .field("warnings", warnings)
            .field("file", file)
            .field("profile", profile)
            .field("log_filter", log_filter)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// The keys whose values differ in `other`, without the values.
    pub fn changed_keys<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let keys: BTreeSet<&String> = self.values.keys().chain(other.values.keys()).collect();
        let differs = |key: &&String| self.values.get(*key) != other.values.get(*key);
        keys.into_iter().filter(differs).map(String::as_str)
    }

    /// Whether somebody chose the value of `key`, as opposed to a default or a profile.
    pub fn is_configured(&self, key: &str) -> bool {
        self.origins.of(key).is_configured()
    }

    /// A problem with the value of `key`, named with the place where it was set.
    pub(crate) fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        Problem::new(self.origins.of(key).clone(), key, text)
    }
}

/// Loads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, all at once.
pub fn load(sources: &Sources, dialects: &[DialectInfo]) -> Result<Loaded, ConfigErrors> {
    let schema = Schema::new(dialects);
    let env = &sources.env;
    let named = sources
        .profile
        .as_deref()
        .or_else(|| environment::get(env, "FANFARE_PROFILE"));
    let profile = named.unwrap_or(profile::DEFAULT).to_owned();
    let named_file = sources.file.as_deref();
    let named_file = named_file.or_else(|| environment::get(env, "FANFARE_CONFIG").map(Path::new));

    let mut merged = Merged::with_defaults(&schema);
    let (placements, problems) = placement::read(dialects, env);
    merged.problems.extend(problems);
    merged.add(profile::read(&schema, dialects, &placements, &profile));
    let (file, layer) = file::read(&schema, named_file);
    merged.add(layer);
    for layer in environment::read_inherited(&schema, dialects, env) {
        merged.add(layer);
    }
    for layer in environment::read(&schema, env) {
        merged.add(layer);
    }
    for (key, text) in &sources.overrides {
        merged.add(read_flag(&schema, key, text));
    }
    derived::fill(&mut merged, dialects);

    let config = build(dialects, &merged.values).unwrap_or_else(|problem| {
        merged.problems.push(problem);
        Config::default()
    });
    let log_filter = log_filter(env, &config, &mut merged.problems);
    let mut checked = checks::Checker {
        dialects,
        config,
        profile,
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
    })
}

/// The layers so far.
pub(super) struct Merged {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) origins: Origins,
    pub(super) problems: Vec<Problem>,
    /// Keys whose value was refused. What they are compared with is not judged.
    pub(super) refused: BTreeSet<String>,
}

impl Merged {
    fn with_defaults(schema: &Schema) -> Self {
        let default = |key: &super::schema::Key| match &key.kind {
            Kind::Tables(_) => Some(Value::Array(Vec::new())),
            _ => key.default.clone(),
        };
        let leaves = schema.leaves().into_iter();
        Self {
            values: leaves
                .filter_map(|(path, key)| Some((path, default(key)?)))
                .collect(),
            origins: Origins::default(),
            problems: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    fn add(&mut self, layer: Layer) {
        for (path, value, origin) in layer.values {
            if matches!(value, Value::Array(_)) {
                let inside = format!("{path}[");
                self.origins.0.retain(|key, _| !key.starts_with(&inside));
            }
            self.values.insert(path.clone(), value);
            self.origins.0.insert(path, origin);
        }
        self.origins.0.extend(layer.details);
        self.refused
            .extend(layer.problems.iter().map(|problem| problem.key.clone()));
        self.problems.extend(layer.problems);
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn is_configured(&self, key: &str) -> bool {
        self.origins.of(key).is_configured()
    }

    /// Sets what follows from other settings, unless somebody chose it.
    pub(super) fn derive(&mut self, key: &str, value: Value, reason: &'static str) {
        if !self.is_configured(key) && self.values.get(key) != Some(&value) {
            self.values.insert(key.to_owned(), value);
            self.origins.0.insert(key.to_owned(), Origin::Derived(reason));
        }
    }
}

fn read_flag(schema: &Schema, path: &str, text: &str) -> Layer {
    let mut reader = Reader::new(schema, Source::Flag(path.to_owned()));
    let Some(key) = schema.find(path) else {
        let paths: Vec<String> = schema.leaves().into_iter().map(|(path, _)| path).collect();
        let hint = hint(nearest(path, paths.iter().map(String::as_str)).map(|near| format!("`{near}`")));
        reader.problem(0, "", format!("unknown key{hint}"));
        return reader.layer;
    };
    let plain = Raw::from_plain(&key.kind, text);
    let raw = match (Raw::from_toml(text), &key.kind) {
        // `--set broker.kind=redis` needs no quotes, and a secret of digits is no number.
        (Some(Raw::Text(text)), _) => Raw::Text(text),
        (Some(list @ Raw::List(_)), Kind::List(_) | Kind::Tables(_)) => list,
        _ => plain,
    };
    reader.leaf(&key.kind, &Item { raw, line: 0 }, 0, path);
    reader.layer
}

fn log_filter(env: &[(String, String)], config: &Config, problems: &mut Vec<Problem>) -> String {
    const VARIABLE: &str = "FANFARE_LOG";
    let Some(filter) = environment::get(env, VARIABLE) else {
        return config.log.level.name().to_owned();
    };
    if let Err(reason) = telemetry::filter(filter) {
        let text = format!("found {filter:?}, expected a filter such as \"info,hyper=debug\" ({reason})");
        problems.push(Problem::new(Origin::Environment(VARIABLE.to_owned()), "", text));
    }
    filter.to_owned()
}

/// Makes the typed configuration.
///
/// # Errors
/// None that can occur: every value was compared with its kind, by the same parsers that serde calls. Should
/// they differ one day, to stop is better than to run with defaults; serde's words may repeat a secret.
fn build(dialects: &[DialectInfo], values: &BTreeMap<String, Value>) -> Result<Config, Problem> {
    let broken = |table: &str| {
        Problem::new(
            Origin::Default,
            table,
            "has a value that passed the checks and cannot be used",
        )
    };
    let mut root = toml::Table::new();
    for (path, value) in values {
        let mut table = &mut root;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.clone());
                break;
            }
            let inner = table
                .entry(part)
                .or_insert_with(|| Value::Table(toml::Table::new()));
            let Value::Table(inner) = inner else {
                break;
            };
            table = inner;
        }
    }
    let mut tables = BTreeMap::new();
    for dialect in dialects {
        if let Some(Value::Table(mut table)) = root.remove(dialect.name) {
            let options = take_options(dialect, &mut table).ok_or_else(|| broken(dialect.name))?;
            let typed = DialectConfig::deserialize(table).map_err(|_| broken(dialect.name))?;
            tables.insert(dialect.name.to_owned(), DialectConfig { options, ..typed });
        }
    }
    let config = Config::deserialize(root).map_err(|_| broken("config"))?;
    Ok(Config {
        dialects: tables,
        ..config
    })
}

/// Takes the dialect's own settings out of its table.
fn take_options(dialect: &DialectInfo, table: &mut toml::Table) -> Option<Options> {
    let mut own: BTreeMap<&str, Value> = BTreeMap::new();
    for option in dialect.options {
        own.extend(table.remove(option.name).map(|value| (option.name, value)));
    }
    Options::read(dialect.options, |name| serde_json::to_value(own.get(name)?).ok()).ok()
}
