//! The profile layer: what a name stands for.

use super::dialect::DialectInfo;
use super::kind::{hint, nearest};
use super::layer::{Reader, Source};
use super::merged::Merged;
use super::origin::Origin;
use super::placement::{self, Place, Placement};
use super::schema::Schema;

/// The profile where none is named.
pub(super) const DEFAULT: &str = "default";
/// The profile that starts with nothing that a stranger could know or use.
pub(super) const PRODUCTION: &str = "production";

/// What the production profile sets, besides what each dialect adds.
const PRODUCTION_VALUES: &[(&str, &str)] = &[
    ("auth.registration", "\"closed\""),
    ("api.trust_loopback", "false"),
    ("limits.upgrades_per_second_per_ip", "5"),
    ("limits.requests_per_second_per_ip", "10"),
];

/// What the production profile sets, each value in TOML.
fn production_values(dialects: &[DialectInfo]) -> impl Iterator<Item = &(&'static str, &'static str)> {
    let of_dialects = dialects.iter().flat_map(|dialect| dialect.production);
    PRODUCTION_VALUES.iter().chain(of_dialects)
}

/// The profiles of a build and what each does, in one sentence.
pub(super) fn list(dialects: &[DialectInfo]) -> Vec<(String, String)> {
    let set: Vec<String> = production_values(dialects)
        .map(|(key, value)| format!("`{key} = {value}`"))
        .collect();
    let mut profiles = vec![
        (
            DEFAULT.to_owned(),
            "Every dialect on the addresses that its clients expect.".to_owned(),
        ),
        (
            PRODUCTION.to_owned(),
            format!(
                "The same addresses; refuses to start without a configured secret or public key, with a secret of less \
                 than 32 bytes, and without `auth.allowed_origins`. Sets {}; each key opens again what it closes.",
                set.join(", ")
            ),
        ),
    ];
    for dialect in dialects.iter().filter(|dialect| !dialect.hidden) {
        if let Some(bind) = dialect.binds.first() {
            profiles.push((
                dialect.name.to_owned(),
                format!("`{}` alone, on `{bind}`.", dialect.name),
            ));
        }
    }
    profiles
}

/// Reads the values of the profile `name`, with its listeners as `placements` want them.
pub(super) fn read(
    schema: &Schema,
    dialects: &[DialectInfo],
    placements: &[Placement],
    name: &str,
    merged: &mut Merged,
) {
    let mut reader = Reader::new(schema, Source::Profile(name.to_owned()), merged);
    let places = match dialects.iter().find(|dialect| dialect.name == name) {
        Some(alone) => alone
            .binds
            .iter()
            .take(1)
            .map(|bind| Place::new(bind, vec![alone.name]))
            .collect(),
        None if name == DEFAULT || name == PRODUCTION => documented_listeners(dialects),
        None => return reader.problem(0, "", unknown(dialects, name)),
    };
    let places = placement::apply(placements, places);
    reader.toml("listener", &listener_tables(&places));
    if name == PRODUCTION {
        for (path, text) in production_values(dialects) {
            reader.toml(path, text);
        }
    }
    note_placements(merged, &places, placements);
}

/// Notes which variables changed a listener.
fn note_placements(merged: &mut Merged, places: &[Place], placements: &[Placement]) {
    let by = |variables: &[&str]| Origin::Environment(variables.join(" and "));
    for (index, place) in places.iter().enumerate() {
        for (key, variables) in [("bind", &place.bound_by), ("dialects", &place.regrouped_by)] {
            if !variables.is_empty() {
                merged.place(&format!("listener[{index}].{key}"), by(variables));
            }
        }
    }
    if places.is_empty() {
        merged.place("listener", by(&placement::switched_off(placements)));
    }
}

/// One listener for each documented address, with all dialects that are documented there.
pub(super) fn documented_listeners(dialects: &[DialectInfo]) -> Vec<Place> {
    let mut listeners: Vec<Place> = Vec::new();
    for dialect in dialects.iter().filter(|dialect| !dialect.hidden) {
        for bind in dialect.binds {
            match listeners.iter_mut().find(|known| known.bind == *bind) {
                Some(known) => known.dialects.push(dialect.name),
                None => listeners.push(Place::new(bind, vec![dialect.name])),
            }
        }
    }
    listeners
}

/// The listeners in TOML.
pub(super) fn listener_tables(places: &[Place]) -> String {
    let table = |place: &Place| format!("{{ bind = {:?}, dialects = {:?} }}", place.bind, place.dialects);
    format!("[{}]", places.iter().map(table).collect::<Vec<_>>().join(", "))
}

fn unknown(dialects: &[DialectInfo], name: &str) -> String {
    let profiles = list(dialects);
    let names = profiles.iter().map(|(name, _)| name.as_str());
    let list = names.clone().collect::<Vec<_>>().join(", ");
    let hint = hint(nearest(name, names).map(|near| format!("`{near}`")));
    format!("unknown profile, expected one of {list}{hint}")
}
