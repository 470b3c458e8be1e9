//! Compares configurations: the keys that a reload applies, those that need a restart, and the risks of a mix of both.

use std::{collections::BTreeMap, path::Path};

use aws_lc_rs::digest::{self, SHA256};
use fanfare_core::Registry;

use crate::config::{self, Config, Listener, Loaded, Problem, Tls};

/// The keys that a reload applies, besides `[limits]`, the limits of dialects and the files of certificates.
const APPLIED: [&str; 22] = [
    "api.admin",
    "api.docs",
    "api.keys",
    "api.metrics",
    "auth.accepted_jwt_secrets",
    "auth.algorithms",
    "auth.audience",
    "auth.issuer",
    "auth.jwks_url",
    "auth.jwt_secret",
    "auth.login_attempts_per_minute",
    "auth.login_attempts_per_minute_per_ip",
    "auth.public_key_file",
    "auth.registrations_per_minute_per_ip",
    "channel",
    "history.everyone.size",
    "history.everyone.ttl",
    "history.replay_limit",
    "history.users.size",
    "history.users.ttl",
    "log.level",
    "resp.password",
];
/// Of `[limits]`, the keys that need a restart.
const LIMITS_KEEP: [&str; 3] = ["max_fan_out_receivers", "max_listed_members", "max_known_members"];
/// Of the keys that every dialect has, those that need a restart.
const DIALECTS_KEEP: [&str; 2] = ["ping_interval", "ping_timeout"];

/// The digest of each file that a reload reads, by its key; `None` if the file cannot be read.
#[derive(PartialEq, Eq)]
pub(super) struct FileContents(BTreeMap<String, Option<Vec<u8>>>);

impl FileContents {
    pub(super) fn read(config: &Config) -> Self {
        let mut contents = BTreeMap::new();
        let mut read = |key: String, path: &Path| {
            let digest = |bytes: Vec<u8>| digest::digest(&SHA256, &bytes).as_ref().to_vec();
            contents.insert(key, config::file_content(path).ok().map(digest));
        };
        if let Some(path) = &config.auth.public_key_file {
            read("auth.public_key_file".to_owned(), path);
        }
        for (index, listener) in config.listener.iter().enumerate() {
            if let Some(tls) = &listener.tls {
                read(format!("listener[{index}].tls.cert"), &tls.cert);
                read(format!("listener[{index}].tls.key"), &tls.key);
            }
        }
        Self(contents)
    }
}

/// The configurations of the start, in force, and wanted.
pub(super) struct Changes<'a> {
    pub(super) start: &'a Loaded,
    pub(super) in_force: (&'a Loaded, &'a FileContents),
    pub(super) wanted: (&'a Loaded, &'a FileContents),
}

impl Changes<'_> {
    /// Returns the changed keys that a reload applies; a file's content counts as its key's value.
    pub(super) fn applied(&self) -> Vec<String> {
        let ((in_force, old), (wanted, new)) = (self.in_force, self.wanted);
        let keys = in_force.changed_keys(wanted).into_iter();
        let keys = keys.filter(|key| is_applied(wanted.config.registry, key));
        let files = new
            .0
            .iter()
            .filter(|(key, digest)| old.0.get(*key) != Some(*digest));
        let mut applied: Vec<String> = keys.map(|key| wanted.set_by(&key)).collect();
        applied.extend(files.map(|(key, _)| key.clone()));
        applied.sort();
        applied.dedup();
        applied
    }

    /// Returns the keys that have changed since the start and need a restart; each by the name of its value, not of its file.
    pub(super) fn needing_restart(&self) -> Vec<String> {
        let wanted = self.wanted.0;
        let stays = |key: &String| match key.as_str() {
            "listener" => without_files(self.start) != without_files(wanted),
            key => !is_applied(wanted.config.registry, key),
        };
        let keys = self.start.changed_keys(wanted).into_iter();
        keys.filter(stays).collect()
    }
}

fn is_applied(registry: Registry, key: &str) -> bool {
    let (table, option) = key.split_once('.').unwrap_or_default();
    let Some(kind) = registry.find(table) else {
        let is_limit = table == "limits" && !LIMITS_KEEP.contains(&option);
        return is_limit || APPLIED.contains(&key);
    };
    let own = kind.options.schema();
    let is_own = own["properties"].get(option).is_some();
    kind.policy_options.contains(&option) || !(is_own || DIALECTS_KEEP.contains(&option))
}

/// Returns the listeners without the names of their certificates.
fn without_files(loaded: &Loaded) -> Vec<Listener> {
    let strip = |listener: &Listener| Listener {
        tls: listener.tls.as_ref().map(|_| Tls {
            cert: "".into(),
            key: "".into(),
        }),
        ..listener.clone()
    };
    loaded.config.listener.iter().map(strip).collect()
}

/// Returns the risks of the new secrets together with settings that keep their values until a restart. The configuration's checks have
/// only tested them together with the new settings.
pub(super) fn risks_until_restart(started: &Config, loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let has_no_key = config.api.keys.is_empty();
    let is_door_reached = started.resp.bind.is_some_and(|bind| !bind.is_loopback());
    let mut problems = Vec::new();
    if is_door_reached && has_no_key && config.resp.password.is_none() {
        let text = "found none, expected a password (or api.keys) until a restart: the Redis-protocol door keeps the address \
                    of the start, where any client could publish";
        problems.push(loaded.problem("resp.password", text));
    }
    let is_trusting = started.api.trust_loopback && !config.api.trust_loopback;
    if is_trusting && has_no_key && !started.api.keys.is_empty() {
        let text = "found none, expected a key until a restart: api.trust_loopback stays as it was at the start, and any \
                    program on this machine could use the API";
        problems.push(loaded.problem("api.keys", text));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_applied_or_needs_a_restart() {
        for (key, applied) in [
            ("limits.burst", true),
            ("limits.trusted_proxies", true),
            ("limits.max_fan_out_receivers", false),
            ("limits.max_listed_members", false),
            ("limits.max_known_members", false),
            ("notify.max_connections", true),
            ("notify.ping_interval", false),
            ("rooms.default_access", true),
            ("realtime.public", true),
            ("topics.auth_timeout", false),
            ("api.keys", true),
            ("api.trust_loopback", false),
            ("auth.jwt_secret", true),
            ("auth.registration", false),
            ("broker.url", false),
            ("data_dir", false),
            ("listener", false),
            ("log.format", false),
        ] {
            assert_eq!(is_applied(fanfare_dialects::REGISTRY, key), applied, "{key}");
        }
    }
}
