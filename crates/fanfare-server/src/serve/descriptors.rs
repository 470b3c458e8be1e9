//! Raises the limit of file descriptors: each connection is one, and the usual limit of 1,024 is a tenth of a dialect's connections.

use crate::config::Config;

/// The descriptors of the process itself: its log, its event queues, files that are open for a moment.
const OWN: usize = 64;

/// Raises the limit as far as the system allows, and warns if that is less than the configured connections need.
pub(super) fn raise(config: &Config, shards: usize) {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(soft, _)| soft)
        }
    };
    tracing::debug!(limit, "file descriptors");
    if let Some(warning) = warning(config, shards, limit) {
        tracing::warn!("{warning}");
    }
}

fn warning(config: &Config, shards: usize, limit: u64) -> Option<String> {
    let connections = connections(config);
    let reserve = reserve(config, shards);
    let needed = connections + reserve;
    if needed as u64 <= limit {
        return None;
    }
    Some(format!(
        "the limit of file descriptors is {limit}, and {needed} are needed: {connections} for max_connections of all \
         dialects that are served, {reserve} for everything else. Connections over the limit wait until others close. Raise \
         the hard limit (systemd: LimitNOFILE={needed}, Docker: --ulimit nofile={needed}, shell: ulimit -n {needed}), or \
         lower max_connections"
    ))
}

fn connections(config: &Config) -> usize {
    let is_served = |name: &str| config.listener.iter().any(|listener| listener.serves(name));
    let served = config.dialects.iter().filter(|(name, _)| is_served(name));
    let limits = served.map(|(_, dialect)| dialect.max_connections);
    limits.fold(0, usize::saturating_add)
}

/// Returns the number of descriptors for publishers, the database, listening sockets, and the process itself.
fn reserve(config: &Config, shards: usize) -> usize {
    let publishers = config.resp.bind.map_or(0, |_| config.resp.max_connections);
    let sockets = (2 * config.listener.len() + 2) * shards; // a listener has at most two addresses
    publishers + config.storage.max_connections as usize + sockets + 8 * shards + OWN
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn config(overrides: &[(&str, &str)]) -> Config {
        let overrides = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources {
            overrides: overrides.collect(),
            ..Sources::default()
        };
        load(&sources, fanfare_dialects::REGISTRY).unwrap().config
    }

    #[test]
    fn the_connections_of_served_dialects_are_counted() {
        let default = config(&[]);
        // realtime is served on two listeners and counts once; echo is not served.
        assert_eq!(connections(&default), 41_000);
        let needed = 41_000 + reserve(&default, 2) as u64;
        assert_eq!(warning(&default, 2, needed), None);
        let warning = warning(&default, 2, needed - 1).unwrap();
        for part in [
            "41000",
            &needed.to_string(),
            &(needed - 1).to_string(),
            "LimitNOFILE",
        ] {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn the_reserve() {
        let [with_door, without] = [&[][..], &[("resp.bind", "off")]].map(|set| reserve(&config(set), 1));
        assert_eq!(with_door - without, 1000);
        assert!(reserve(&config(&[]), 64) < 3000);
    }
}
