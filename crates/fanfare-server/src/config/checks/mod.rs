//! Rules between settings, and between settings and the machine; each single value fits its type already.

mod access;
mod acme;
mod auth;
mod listeners;
mod services;

use std::time::Duration;

use fanfare_core::format_duration;

use super::merged::Merged;
use super::model::Config;
use super::origin::{Origin, Problem};
use super::placement::Placement;
use super::profile;
use super::secret_files;

const OUTER_SPACE: &str = "found white space at the beginning or the end, which is a part of the secret";

/// A configuration under examination, and the problems found.
pub(super) struct Checker<'a> {
    config: &'a Config,
    profile: &'a str,
    placements: &'a [Placement],
    merged: &'a Merged,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Whether the embedded door must stay closed, because a listener has its default address.
    pub(super) closes_door: bool,
}

pub(super) fn run<'a>(
    config: &'a Config,
    profile: &'a str,
    placements: &'a [Placement],
    merged: &'a Merged,
) -> Checker<'a> {
    let mut checker = Checker {
        config,
        profile,
        placements,
        merged,
        problems: Vec::new(),
        warnings: Vec::new(),
        closes_door: false,
    };
    // After a file or a profile that could not be read, every further problem would be a guess.
    let unread = |problem: &Problem| {
        problem.key.is_empty() && matches!(problem.origin, Origin::File { .. } | Origin::Profile(_))
    };
    if !merged.problems.iter().any(unread) {
        checker.data_dir();
        checker.dialect_tables();
        checker.shutdown();
        listeners::check(&mut checker);
        acme::check(&mut checker);
        auth::check(&mut checker);
        access::check(&mut checker);
        services::check(&mut checker);
    }
    checker
}

impl<'a> Checker<'a> {
    /// Reports an error in the value of `key`.
    fn error(&mut self, key: &str, text: impl Into<String>) {
        let problem = self.problem(key, text);
        self.problems.push(problem);
    }

    /// Reports a warning about the value of `key`.
    fn warning(&mut self, key: &str, text: impl Into<String>) {
        let problem = self.problem(key, text);
        self.warnings.push(problem);
    }

    fn origin(&self, key: &str) -> &'a Origin {
        self.merged.origins.of(key)
    }

    fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        let set_by = secret_files::set_by(&self.merged.files, key);
        Problem::new(self.origin(key).clone(), set_by, text)
    }

    /// Returns whether no value of the keys, or inside them, was refused already.
    fn are_sound(&self, keys: &[&str]) -> bool {
        let inside = |refused: &str, key: &str| {
            refused
                .strip_prefix(key)
                .is_some_and(|rest| matches!(rest, "" | "_file") || rest.starts_with(['[', '.']))
        };
        let mut refused = self.merged.refused.iter();
        !refused.any(|refused| keys.iter().any(|key| inside(refused, key)))
    }

    fn is_production(&self) -> bool {
        self.profile == profile::PRODUCTION
    }

    /// Warns of a relative data folder: a service that is started in another folder would begin with an empty database.
    fn data_dir(&mut self) {
        let folder = &self.config.data_dir;
        if self.is_production() && folder.is_relative() {
            let text = format!(
                "found {:?}, which starts at the working directory; an absolute path such as \"/var/lib/fanfare\" is safer",
                folder.display()
            );
            self.warning("data_dir", text);
        }
    }

    fn dialect_tables(&mut self) {
        for (name, dialect) in &self.config.dialects {
            let (interval, timeout) = (dialect.ping_interval, dialect.ping_timeout);
            let [longer, shorter] = ["ping_timeout", "ping_interval"].map(|key| format!("{name}.{key}"));
            if interval >= timeout {
                self.not_longer((&longer, timeout), (&shorter, interval), "more than");
            }
        }
    }

    fn shutdown(&mut self) {
        let (timeout, window) = (self.config.shutdown.timeout, self.config.shutdown.drain_window);
        if window > timeout {
            let [longer, shorter] = ["shutdown.timeout", "shutdown.drain_window"];
            self.not_longer((longer, timeout), (shorter, window), "at least");
        }
    }

    /// Reports an error if one duration is not longer than another, on the one that was configured.
    fn not_longer(&mut self, longer: (&str, Duration), shorter: (&str, Duration), relation: &str) {
        if !self.are_sound(&[longer.0, shorter.0]) {
            return;
        }
        let inverse = if relation == "at least" {
            "at most"
        } else {
            "less than"
        };
        let longer_is_to_blame = self.merged.is_configured(longer.0) || !self.merged.is_configured(shorter.0);
        let (blamed, other, relation) = if longer_is_to_blame {
            (longer, shorter, relation)
        } else {
            (shorter, longer, inverse)
        };
        let text = format!(
            "found \"{}\", expected {relation} {}, which is \"{}\" ({})",
            format_duration(blamed.1),
            other.0,
            format_duration(other.1),
            self.origin(other.0)
        );
        self.error(blamed.0, text);
    }
}
