//! The server and the dialect of `fanfare listen`: the first dialect there that can deliver the requested events.

use fanfare_core::{DialectKind, ListenPlan, Listening, Registry};
use reqwest::Url;

use super::{CommandFailure, remote, usage};
use crate::config::{Config, Listener};

type ServedDialect = &'static DialectKind;

pub(super) struct Destination {
    pub(super) dialect: &'static str,
    /// The URL to connect to. It contains the token.
    pub(super) url: String,
    pub(super) plan: ListenPlan,
}

struct ReachableServer {
    base: String,
    dialects: Vec<ServedDialect>,
}

/// Finds a server that can deliver the `wanted` events: at `url`, or else at a listener of the configuration, on this
/// machine. If a `dialect` is named, no other is used.
pub(super) fn find(
    config: &Config,
    url: Option<&str>,
    dialect: Option<&str>,
    wanted: &Listening<'_>,
) -> Result<Destination, CommandFailure> {
    let mut servers = match url {
        Some(url) => vec![server_at(config, url)?],
        None => local_servers(config)?,
    };
    if let Some(name) = dialect {
        narrow(&mut servers, config.registry, name, url.is_some())?;
    }
    for ReachableServer { base, dialects } in &servers {
        for dialect in dialects {
            if let Some(plan) = (dialect.listen)(wanted) {
                return Ok(Destination {
                    dialect: dialect.name,
                    url: format!("{base}{}", plan.target),
                    plan,
                });
            }
        }
    }
    Err(no_dialect(&servers, wanted))
}

/// Returns every listener that this machine can reach without TLS.
fn local_servers(config: &Config) -> Result<Vec<ReachableServer>, CommandFailure> {
    let server = |listener: &Listener| {
        let names = listener.dialects.iter();
        ReachableServer {
            base: format!("ws://{}", remote::address(listener)),
            dialects: names.filter_map(|name| config.registry.find(name)).collect(),
        }
    };
    let servers: Vec<_> = remote::reachable(config).map(server).collect();
    if servers.is_empty() {
        return Err(remote::unreachable());
    }
    Ok(servers)
}

/// Returns the server at `url`. If the URL names a whole endpoint, its path ends as a plan's begins.
fn server_at(config: &Config, url: &str) -> Result<ReachableServer, CommandFailure> {
    let bad = || usage("--url: expected http://HOST[:PORT] or ws://HOST[:PORT][/PATH]");
    let url = Url::parse(url).map_err(|_| bad())?;
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(bad()),
    };
    let authority = url.authority();
    if authority.is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(bad());
    }
    let path = url.path().trim_end_matches('/');
    let dialects = likely_dialects(config, path, url.port_or_known_default());
    let endpoint = dialects.first().map_or("", |dialect| dialect.path);
    let prefix = path.strip_suffix(endpoint).unwrap_or(path);
    Ok(ReachableServer {
        base: format!("{scheme}://{authority}{prefix}"),
        dialects,
    })
}

fn conversing(registry: Registry) -> impl Iterator<Item = ServedDialect> {
    registry.iter().filter(|dialect| !dialect.everywhere)
}

/// Returns the dialects that a path and port may serve: those whose path it is, and of those the ones that the
/// configuration, or else the defaults, have on the port. Without any hint, all.
fn likely_dialects(config: &Config, path: &str, port: Option<u16>) -> Vec<ServedDialect> {
    let mut dialects: Vec<_> = conversing(config.registry).collect();
    let mut narrow = |is_likely: &dyn Fn(&ServedDialect) -> bool| {
        if dialects.iter().any(is_likely) {
            dialects.retain(is_likely);
        }
    };
    narrow(&|dialect| path.ends_with(dialect.path));
    let mut listeners = config.listener.iter();
    if let Some(listener) = listeners.find(|listener| Some(listener.bind.port()) == port) {
        narrow(&|dialect| listener.serves(dialect.name));
    } else if let Some(port) = port {
        let port = format!(":{port}");
        narrow(&|dialect| dialect.binds.iter().any(|bind| bind.ends_with(&port)));
    }
    dialects
}

/// Keeps only the dialect `name`. A server that the user named by its URL `is_remote`: its dialects are unknown, so it is
/// assumed to serve this one.
fn narrow(
    servers: &mut Vec<ReachableServer>,
    registry: Registry,
    name: &str,
    is_remote: bool,
) -> Result<(), CommandFailure> {
    let Some(dialect) = conversing(registry).find(|dialect| dialect.name == name) else {
        let names: Vec<_> = conversing(registry).map(|kind| kind.name).collect();
        return Err(usage(format!("--dialect: expected one of {}", names.join(", "))));
    };
    for server in &mut *servers {
        if is_remote {
            server.dialects = vec![dialect];
        } else {
            server.dialects.retain(|served| served.name == name);
        }
    }
    servers.retain(|server| !server.dialects.is_empty());
    if servers.is_empty() {
        return Err(usage(format!(
            "--dialect: no listener without TLS serves {name}; name the server with --url"
        )));
    }
    Ok(())
}

fn no_dialect(servers: &[ReachableServer], wanted: &Listening<'_>) -> CommandFailure {
    let served = servers.iter().flat_map(|server| &server.dialects);
    let mut names: Vec<_> = served.map(|dialect| dialect.name).collect();
    names.dedup();
    let names = names.join(", ");
    let what = match (wanted.own, wanted.channels) {
        (true, []) => "a user's events",
        (false, _) => "these channels",
        (true, _) => "a user's events and these channels together",
    };
    let hint = match wanted.token {
        None => "; name a user with --user or --token",
        Some(_) => "",
    };
    usage(format!(
        "{what} cannot be received by any dialect served there ({names}){hint}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    /// Returns the URL that a client of such a configuration connects to, or the error.
    fn found(listeners: &str, url: Option<&str>, dialect: Option<&str>, wanted: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fanfare.toml");
        std::fs::write(&file, listeners).unwrap();
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        let config = config::load(&sources, fanfare_dialects::REGISTRY).unwrap().config;
        let words: Vec<_> = wanted.split_whitespace().collect();
        let channels: Vec<_> = words
            .iter()
            .filter(|word| word.contains('.'))
            .map(|name| (*name).to_owned())
            .collect();
        let wanted = Listening {
            token: words.contains(&"token").then_some("T"),
            own: words.contains(&"own"),
            channels: &channels,
        };
        match find(&config, url, dialect, &wanted) {
            Ok(found) => format!("{} {}", found.dialect, found.url),
            Err(CommandFailure::Usage(text) | CommandFailure::Runtime(text)) => text,
        }
    }

    const DEFAULT: &str = "";
    const ALONE: &str = "[[listener]]\nbind = \"127.0.0.1:7000\"\nprefix = \"/a\"\ndialects = [\"topics\"]\n";
    const PUSH: &str = "[[listener]]\nbind = \"[::]:7000\"\ndialects = [\"notify\"]\n";

    #[test]
    fn the_first_listener_and_dialect_that_can_deliver_is_used() {
        for (listeners, wanted, expected) in [
            (DEFAULT, "token own", "notify ws://127.0.0.1:8081/ws?token=T"),
            (
                DEFAULT,
                "token a.b",
                "realtime ws://127.0.0.1:8081/ws?dialect=realtime&token=T",
            ),
            (
                DEFAULT,
                "token own a.b",
                "realtime ws://127.0.0.1:8081/ws?dialect=realtime&token=T",
            ),
            (DEFAULT, "a.b", "realtime ws://127.0.0.1:8081/ws?dialect=realtime"),
            (ALONE, "token own", "topics ws://127.0.0.1:7000/a/ws"),
            (ALONE, "token a.b", "topics ws://127.0.0.1:7000/a/ws"),
            (
                ALONE,
                "a.b",
                "these channels cannot be received by any dialect served there (topics); name a user with --user or \
                 --token",
            ),
            (PUSH, "token own", "notify ws://[::1]:7000/ws?token=T"),
            (
                PUSH,
                "token a.b",
                "these channels cannot be received by any dialect served there (notify)",
            ),
        ] {
            assert_eq!(
                found(listeners, None, None, wanted),
                expected,
                "{listeners} {wanted}"
            );
        }
    }

    #[test]
    fn a_url_selects_the_likely_dialects() {
        for (listeners, url, wanted, expected) in [
            (
                DEFAULT,
                "http://h:8081",
                "token own",
                "notify ws://h:8081/ws?token=T",
            ),
            (
                DEFAULT,
                "http://h:8082/",
                "token own",
                "realtime ws://h:8082/ws?dialect=realtime&token=T",
            ),
            (DEFAULT, "http://h:3000", "token a.b", "topics ws://h:3000/ws"),
            (DEFAULT, "https://h", "token a.b", "topics wss://h/ws"),
            (
                DEFAULT,
                "wss://h/p/ws",
                "token own",
                "notify wss://h/p/ws?token=T",
            ),
            (
                DEFAULT,
                "ws://h:8000/api/v1/ws/connect",
                "token own",
                "rooms ws://h:8000/api/v1/ws/connect?token=T",
            ),
            (ALONE, "http://h:7000/a", "token own", "topics ws://h:7000/a/ws"),
            (ALONE, "ws://h:7000/a/ws", "token own", "topics ws://h:7000/a/ws"),
            (ALONE, "http://h:3000", "token own", "topics ws://h:3000/ws"),
        ] {
            assert_eq!(
                found(listeners, Some(url), None, wanted),
                expected,
                "{listeners} {url}"
            );
        }
        for url in ["h:8081", "ftp://h", "http://", "ws://h/ws?token=x", "nonsense"] {
            let error = found(DEFAULT, Some(url), None, "token own");
            assert!(error.starts_with("--url: expected"), "{url}: {error}");
        }
    }

    #[test]
    fn a_dialect_may_be_named() {
        for (listeners, url, dialect, expected) in [
            (DEFAULT, None, "topics", "topics ws://127.0.0.1:3000/ws"),
            (DEFAULT, Some("http://h:8081"), "topics", "topics ws://h:8081/ws"),
            (
                ALONE,
                None,
                "realtime",
                "--dialect: no listener without TLS serves realtime; name the server with --url",
            ),
            (
                ALONE,
                None,
                "morse",
                "--dialect: expected one of notify, broadcast, topics, realtime, rooms, echo",
            ),
        ] {
            assert_eq!(
                found(listeners, url, Some(dialect), "token a.b"),
                expected,
                "{dialect}"
            );
        }
    }
}
