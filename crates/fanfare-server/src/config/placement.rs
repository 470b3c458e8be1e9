//! The placement of a dialect by another server's variables: its port, its host, and whether it is served. They change the
//! listeners of the profile, not configured ones.

use std::net::IpAddr;

use fanfare_core::{Inherited, Registry, Target};

use super::bind_address::{BindAddress, BindHost};
use super::found::{boolean, quoted, variable};
use super::origin::{Origin, Problem};

/// The effect of one variable on a dialect's listeners.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    dialect: &'static str,
    variable: &'static str,
    effect: Effect,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    Port(u16),
    Host(BindHost),
    Enabled(bool),
}

/// A listener of the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProfileListener {
    pub(super) bind: String,
    pub(super) dialects: Vec<&'static str>,
    /// The variables that changed `bind`.
    pub(super) bound_by: Vec<&'static str>,
    /// The variables that removed a dialect, or moved dialects together.
    pub(super) regrouped_by: Vec<&'static str>,
}

/// Reads the variables. Of several for the same setting, the first takes precedence.
pub(super) fn read(registry: Registry, env: &[(String, String)]) -> (Vec<Placement>, Vec<Problem>) {
    let (mut placements, mut problems) = (Vec::new(), Vec::new());
    for kind in registry.iter() {
        let mut taken: Vec<Target> = Vec::new();
        for inherited in kind.inherited {
            let Some(text) = variable(env, inherited.variable) else {
                continue;
            };
            if taken.contains(&inherited.target) {
                continue;
            }
            taken.push(inherited.target);
            match effect(inherited, text) {
                Some(Ok(effect)) => placements.push(Placement {
                    dialect: kind.name,
                    variable: inherited.variable,
                    effect,
                }),
                Some(Err(expected)) => {
                    let origin = Origin::Environment(inherited.variable.to_owned());
                    let text = format!("found {}, expected {expected}", quoted(text));
                    problems.push(Problem::new(origin, "", text));
                }
                None => {}
            }
        }
    }
    (placements, problems)
}

/// Returns the effect of a variable; `None` if it sets a key.
fn effect(inherited: &Inherited, text: &str) -> Option<Result<Effect, &'static str>> {
    let text = text.trim();
    Some(match inherited.target {
        Target::Key(_) => return None,
        // Kubernetes sets such a variable for a service of that name; it does not mean the dialect.
        Target::Port if text.contains("://") => return None,
        Target::Port => text
            .parse()
            .map(Effect::Port)
            .map_err(|_| "a port from 0 to 65535"),
        Target::Host => host(text)
            .map(Effect::Host)
            .ok_or("an IP address such as \"0.0.0.0\", or \"localhost\""),
        Target::Enabled => boolean(text).map(Effect::Enabled).ok_or("true or false"),
    })
}

fn host(text: &str) -> Option<BindHost> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(BindHost::Localhost);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = bare.unwrap_or(text).parse().ok()?;
    Some(BindHost::Ip(ip.to_canonical(), 0))
}

impl Placement {
    pub(super) fn origin(&self) -> Origin {
        Origin::Environment(self.variable.to_owned())
    }

    /// Returns whether a listener with this address and these dialects already fits the variable.
    pub(super) fn is_satisfied(&self, bind: BindAddress, dialects: &[String]) -> bool {
        if !dialects.iter().any(|name| name == self.dialect) {
            return true;
        }
        match self.effect {
            Effect::Port(port) => bind.port == port,
            Effect::Host(BindHost::Localhost) => bind.is_loopback(),
            Effect::Host(host) => bind.host == host,
            Effect::Enabled(enabled) => enabled,
        }
    }

    fn change(&self, listener: &mut ProfileListener) {
        let Some(at) = listener.dialects.iter().position(|name| *name == self.dialect) else {
            return;
        };
        let Ok(mut bind) = listener.bind.parse::<BindAddress>() else {
            return;
        };
        match self.effect {
            Effect::Enabled(true) => return,
            Effect::Enabled(false) => {
                listener.dialects.remove(at);
                return listener.regrouped_by.push(self.variable);
            }
            Effect::Port(port) => bind.port = port,
            Effect::Host(host) => bind.host = host,
        }
        if bind.to_string() != listener.bind {
            listener.bind = bind.to_string();
            listener.bound_by.push(self.variable);
        }
    }
}

/// Changes the listeners of a profile. A listener without dialects is removed. Listeners with equal addresses are
/// merged, so that the check of paths reports a clash of their dialects.
pub(super) fn apply(placements: &[Placement], listeners: Vec<ProfileListener>) -> Vec<ProfileListener> {
    let mut merged: Vec<ProfileListener> = Vec::new();
    for mut listener in listeners {
        for placement in placements {
            placement.change(&mut listener);
        }
        if listener.dialects.is_empty() && !listener.regrouped_by.is_empty() {
            continue;
        }
        match merged.iter_mut().find(|known| known.bind == listener.bind) {
            Some(known) => known.merge(listener),
            None => merged.push(listener),
        }
    }
    merged
}

/// Returns the variables that disable dialects, for the error if no dialect is left.
pub(super) fn switched_off(placements: &[Placement]) -> Vec<&'static str> {
    let off = |placement: &&Placement| matches!(placement.effect, Effect::Enabled(false));
    let off = placements.iter().filter(off);
    off.map(|placement| placement.variable).collect()
}

impl ProfileListener {
    pub(super) fn new(bind: &str, dialects: Vec<&'static str>) -> Self {
        Self {
            bind: bind.to_owned(),
            dialects,
            ..Self::default()
        }
    }

    fn merge(&mut self, other: Self) {
        let new = |name: &&'static str| !self.dialects.contains(name);
        let dialects: Vec<_> = other.dialects.into_iter().filter(new).collect();
        self.dialects.extend(dialects);
        // A variable that moved one of the two moved them together.
        let together = self.bound_by.iter().copied().chain(other.bound_by);
        let why: Vec<_> = together.chain(other.regrouped_by).collect();
        for variable in why {
            if !self.regrouped_by.contains(&variable) {
                self.regrouped_by.push(variable);
            }
        }
    }
}
