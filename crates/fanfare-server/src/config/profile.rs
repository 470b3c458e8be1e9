//! The profile layer: the values of a named set of defaults, and the listeners of the chosen dialects.

use fanfare_core::{DialectKind, Registry};

use super::found::{quoted, variable};
use super::kind::did_you_mean;
use super::layer::Reader;
use super::merged::Merged;
use super::origin::{Origin, Problem, Sources};
use super::placement::{self, Placement, ProfileListener};
use super::schema::Schema;

/// The default profile, whose values are the settings' defaults.
const DEFAULT_PROFILE: &str = "default";

/// The profile for servers that strangers can reach: it has no default that they could know or use.
pub(super) const PRODUCTION: &str = "production";

/// The variable with the same meaning as `--dialect`.
pub(super) const DIALECTS: &str = "FANFARE_DIALECTS";

/// The values of the production profile, besides those of each dialect.
const PRODUCTION_VALUES: &[(&str, &str)] = &[
    ("auth.registration", "\"closed\""),
    ("api.trust_loopback", "false"),
    ("limits.upgrades_per_second_per_ip", "5"),
    ("limits.requests_per_second_per_ip", "10"),
    ("server.broker_grace", "\"30s\""),
];

fn production_values(registry: Registry) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let of_dialects = registry.iter().flat_map(|kind| kind.production);
    PRODUCTION_VALUES.iter().chain(of_dialects)
}

/// Returns the profiles, each with its description.
pub(super) fn list(registry: Registry) -> Vec<(String, String)> {
    let set: Vec<String> = production_values(registry)
        .map(|(key, value)| format!("`{key} = {value}`"))
        .collect();
    let production = format!(
        "For every server that strangers can reach. Refuses to start without a configured secret or public key, with a \
         secret of less than 32 bytes, and without `auth.allowed_origins`. Sets {}; you can set each of these keys \
         otherwise.",
        set.join(", ")
    );
    vec![
        (
            DEFAULT_PROFILE.to_owned(),
            "For a developer's machine.".to_owned(),
        ),
        (PRODUCTION.to_owned(), production),
    ]
}

/// Returns the dialects that `--dialect` accepts, each with its address.
pub(super) fn dialects(registry: Registry) -> Vec<(String, String)> {
    let addresses = first_addresses(registry.addressed());
    addresses
        .map(|(bind, name)| (name.to_owned(), format!("`{bind}`")))
        .collect()
}

fn by_profile(name: &str) -> Origin {
    match name {
        DEFAULT_PROFILE => Origin::Default,
        name => Origin::Profile(name.to_owned()),
    }
}

/// The chosen profile, and the dialects of `--dialect`.
pub(super) struct ProfileChoice {
    pub(super) profile: String,
    /// By `--dialect` or `FANFARE_DIALECTS`; empty for all dialects of the profile.
    dialects: Vec<String>,
    /// The source of the dialects, or else of the profile.
    source: Origin,
}

impl ProfileChoice {
    pub(super) fn new(sources: &Sources) -> Self {
        let variable = |name| variable(&sources.env, name);
        let profile = sources.profile.as_deref().or_else(|| variable("FANFARE_PROFILE"));
        let profile = profile.unwrap_or(DEFAULT_PROFILE).to_owned();
        let split = |names: &str| -> Vec<String> {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let by_flag = split(&sources.dialects.join(","));
        // A dialect's name as the profile is also a choice, and flags take precedence over variables.
        let of_flag = sources.profile.as_deref();
        let is_chosen = of_flag.is_some_and(|name| ![DEFAULT_PROFILE, PRODUCTION].contains(&name));
        let by_variable = variable(DIALECTS).filter(|_| !is_chosen);
        let by_variable = by_variable.map(split).unwrap_or_default();
        let (dialects, source) = if !by_flag.is_empty() {
            (by_flag, Origin::Flag("--dialect".to_owned()))
        } else if !by_variable.is_empty() {
            (by_variable, Origin::Environment(DIALECTS.to_owned()))
        } else {
            (Vec::new(), by_profile(&profile))
        };
        Self {
            profile,
            dialects,
            source,
        }
    }

    /// Refuses a choice of dialects together with configured listeners, which name their dialects themselves.
    pub(super) fn check_listeners(&self, by_profile: &Origin, merged: &mut Merged) {
        let origin = merged.origins.of("listener");
        if !self.dialects.is_empty() && origin != by_profile {
            let text = format!("found beside configured listeners ({origin}), expected one of the two");
            merged.refuse(Problem::new(self.source.clone(), "", text));
        }
    }
}

/// Reads the values of the profile, with its listeners changed by `placements`.
pub(super) fn read(
    schema: &Schema,
    registry: Registry,
    placements: &[Placement],
    choice: &ProfileChoice,
    merged: &mut Merged,
) {
    let name = choice.profile.as_str();
    let with_address = |name: &str| registry.addressed().find(|kind| kind.name == name);
    let mut reader = Reader::new(schema, by_profile(name), merged);
    // A dialect's name is the default profile with only that dialect.
    let mut chosen: Vec<&DialectKind> = with_address(name).into_iter().collect();
    if chosen.is_empty() && name != DEFAULT_PROFILE && name != PRODUCTION {
        let names = list(registry).into_iter().map(|(name, _)| name);
        return reader.problem(0, "", unknown("profile", name, &names.collect::<Vec<_>>()));
    }
    if name == PRODUCTION {
        for (path, text) in production_values(registry) {
            reader.toml(path, text);
        }
    }
    let mut reader = Reader::new(schema, choice.source.clone(), merged);
    for name in &choice.dialects {
        match with_address(name) {
            Some(kind) if chosen.iter().all(|known| known.name != kind.name) => chosen.push(kind),
            Some(_) => {}
            None => {
                let names: Vec<String> = registry.addressed().map(|kind| kind.name.to_owned()).collect();
                reader.problem(0, "", unknown(&format!("dialect {}", quoted(name)), name, &names));
            }
        }
    }
    let listeners = match chosen.as_slice() {
        [] => documented_listeners(registry),
        chosen => listeners(first_addresses(chosen.iter().copied())),
    };
    let listeners = placement::apply(placements, listeners);
    reader.toml("listener", &listener_tables(&listeners));
    note_placements(merged, &listeners, placements);
}

/// Records which variables changed a listener.
fn note_placements(merged: &mut Merged, listeners: &[ProfileListener], placements: &[Placement]) {
    let by = |variables: &[&str]| Origin::Environment(variables.join(" and "));
    for (index, listener) in listeners.iter().enumerate() {
        for (key, variables) in [("bind", &listener.bound_by), ("dialects", &listener.regrouped_by)] {
            if !variables.is_empty() {
                merged.record_origin(&format!("listener[{index}].{key}"), by(variables));
            }
        }
    }
    if listeners.is_empty() {
        merged.record_origin("listener", by(&placement::switched_off(placements)));
    }
}

/// Returns one listener for each documented address, with all dialects that are documented there.
pub(super) fn documented_listeners(registry: Registry) -> Vec<ProfileListener> {
    listeners(registry.addressed().flat_map(|kind| {
        let binds = kind.binds.iter();
        binds.map(|bind| (*bind, kind.name))
    }))
}

/// Returns the address on which `--dialect` serves each of these dialects, with its name.
fn first_addresses<'a>(
    kinds: impl Iterator<Item = &'a DialectKind>,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    kinds.filter_map(|kind| Some((*kind.binds.first()?, kind.name)))
}

/// Returns one listener for each address, with the dialects that are named with it.
fn listeners(dialects: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<ProfileListener> {
    let mut listeners: Vec<ProfileListener> = Vec::new();
    for (bind, name) in dialects {
        match listeners.iter_mut().find(|known| known.bind == bind) {
            Some(known) => known.dialects.push(name),
            None => listeners.push(ProfileListener::new(bind, vec![name])),
        }
    }
    listeners
}

/// Returns the listeners as TOML.
pub(super) fn listener_tables(listeners: &[ProfileListener]) -> String {
    let table = |listener: &ProfileListener| {
        format!(
            "{{ bind = {:?}, dialects = {:?} }}",
            listener.bind, listener.dialects
        )
    };
    format!("[{}]", listeners.iter().map(table).collect::<Vec<_>>().join(", "))
}

fn unknown(what: &str, name: &str, known: &[String]) -> String {
    let hint = did_you_mean(name, known.iter().map(String::as_str), '`');
    format!("unknown {what}, expected one of {}{hint}", known.join(", "))
}
