//! Listeners: names, paths, addresses and certificates.

use fanfare_core::{DialectKind, path_matches};

use super::Checker;
use crate::config::kind::did_you_mean;
use crate::config::model::Listener;
use crate::config::origin::Problem;
use crate::config::placement::Placement;

pub(super) fn check(checker: &mut Checker<'_>) {
    if !checker.are_sound(&["listener"]) {
        return;
    }
    let listeners = &checker.config.listener;
    if listeners.is_empty() {
        checker.error("listener", "found none, expected at least one `[[listener]]`");
    }
    for (index, listener) in listeners.iter().enumerate() {
        let key = format!("listener[{index}]");
        names(checker, &format!("{key}.dialects"), listener);
        paths(checker, &format!("{key}.dialects"), listener);
        prefix(checker, &format!("{key}.prefix"), &listener.prefix);
        for (earlier, other) in listeners[..index].iter().enumerate() {
            if other.bind.conflicts_with(listener.bind) {
                let origin = checker.origin(&format!("listener[{earlier}].bind"));
                let text = format!(
                    "found \"{}\", expected an address that listener[{earlier}] (\"{}\", {origin}) leaves free",
                    listener.bind, other.bind
                );
                checker.error(&format!("{key}.bind"), text);
                break;
            }
        }
    }
    uncovered_ipv4(checker, listeners);
    door(checker, listeners);
    unused_placements(checker, listeners);
}

/// Warns of IPv4 addresses without a listener: `[::]` leaves IPv4 to another listener with its port, and that one may have
/// a single address.
fn uncovered_ipv4(checker: &mut Checker<'_>, listeners: &[Listener]) {
    for (index, listener) in listeners.iter().enumerate() {
        let narrow = |other: &&Listener| {
            let sockets = other.bind.sockets();
            listener.bind.leaves_ipv4_to(other.bind)
                && !sockets.iter().any(|socket| socket.ip().is_unspecified())
        };
        if let Some(other) = listeners.iter().find(narrow) {
            let text = format!(
                "found \"{}\" beside \"{}\", which leaves the machine's other IPv4 addresses without a listener on this \
                 port",
                listener.bind, other.bind
            );
            checker.warning(&format!("listener[{index}].bind"), text);
        }
    }
}

/// Warns of variables that would move a dialect, and do not, because listeners are configured.
fn unused_placements(checker: &mut Checker<'_>, listeners: &[Listener]) {
    const KEY: &str = "listener";
    if !checker.merged.is_configured(KEY) {
        return;
    }
    let origin = checker.origin(KEY);
    let is_satisfied = |placement: &Placement| {
        listeners
            .iter()
            .all(|l| placement.is_satisfied(l.bind, &l.dialects))
    };
    for placement in checker
        .placements
        .iter()
        .filter(|placement| !is_satisfied(placement))
    {
        let text = format!("is not used, as the listeners are configured ({origin})");
        checker.warnings.push(Problem::new(placement.origin(), KEY, text));
    }
}

fn names(checker: &mut Checker<'_>, key: &str, listener: &Listener) {
    let registry = checker.config.registry;
    let known: Vec<&str> = registry.addressed().map(|kind| kind.name).collect();
    for (index, name) in listener.dialects.iter().enumerate() {
        if listener.dialects[..index].contains(name) {
            checker.error(key, format!("found \"{name}\" twice, expected each dialect once"));
        } else if registry.find(name).is_none() {
            let hint = did_you_mean(name, known.iter().copied(), '"');
            let list = known.join(", ");
            let text = format!("found {name:?}, which is not a dialect, expected some of {list}{hint}");
            checker.error(key, text);
        }
    }
}

fn paths(checker: &mut Checker<'_>, key: &str, listener: &Listener) {
    let registry = checker.config.registry;
    let is_served = |kind: &&DialectKind| listener.serves(kind.name);
    let served: Vec<_> = registry.iter().filter(is_served).collect();
    for (index, one) in served.iter().enumerate() {
        for other in &served[..index] {
            let (name, earlier) = (one.name, other.name);
            let may_share = registry.may_share_path(name, earlier) || registry.may_share_path(earlier, name);
            let overlap = path_matches(one.path, other.path) && path_matches(other.path, one.path);
            if overlap && !may_share {
                let text = format!(
                    "found \"{earlier}\" and \"{name}\", which both claim {}, expected each on a `[[listener]]` of its own",
                    one.path
                );
                checker.error(key, text);
            }
        }
    }
}

fn prefix(checker: &mut Checker<'_>, key: &str, prefix: &str) {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_allowed);
    let rest = prefix.strip_prefix('/');
    let is_path = rest.is_some_and(|rest| rest.split('/').all(is_segment));
    if !prefix.is_empty() && !is_path {
        let text = format!(
            "found {prefix:?}, expected a path such as \"/a\": a slash before each part, none at the end, \
             letters, digits and - . _ ~ in between"
        );
        checker.error(key, text);
    }
}

/// Checks that the embedded door does not have the address of a listener. If its address is the default, the door stays
/// closed instead.
fn door(checker: &mut Checker<'_>, listeners: &[Listener]) {
    const KEY: &str = "resp.bind";
    let Some(door) = checker.config.resp.bind else {
        return;
    };
    // A default address does not take IPv4 from a listener.
    let is_chosen = checker.merged.is_configured(KEY);
    let clashes = |listener: &Listener| {
        listener.bind.conflicts_with(door) || !is_chosen && listener.bind.leaves_ipv4_to(door)
    };
    let Some(index) = listeners.iter().position(clashes) else {
        return;
    };
    let text = format!(
        "found \"{door}\", expected an address that listener[{index}] (\"{}\") leaves free",
        listeners[index].bind
    );
    if is_chosen {
        checker.error(KEY, text);
    } else {
        checker.closes_door = true;
        checker.warning(KEY, format!("{text}; the door stays closed"));
    }
}
