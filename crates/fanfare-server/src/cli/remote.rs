//! Where the server is that `publish` and `listen` talk to.

use fanfare_core::DialectKind;

use super::Failure;
use crate::config::{Config, Listener};

/// The first listener of the configuration that this machine can reach without TLS.
fn local(config: &Config) -> Result<(&Listener, String), Failure> {
    let reachable = config
        .listener
        .iter()
        .find(|listener| listener.tls.is_none() && listener.bind.port() != 0);
    let listener = reachable.ok_or_else(|| {
        Failure::Usage(
            "no listener with a fixed port and without TLS is configured: say where with --url".into(),
        )
    })?;
    let mut address = listener.bind;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Ok((listener, format!("{address}{}", listener.prefix)))
}

/// The URL of the service API below `url`, or below the local server's.
pub(super) fn api(config: &Config, url: Option<&str>, path: &str) -> Result<String, Failure> {
    let base = match url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", local(config)?.1),
    };
    if !base.starts_with("http://") && !base.starts_with("https://") {
        return Err(Failure::Usage(
            "--url: expected http://HOST[:PORT] or https://HOST[:PORT]".into(),
        ));
    }
    Ok(format!("{base}{path}"))
}

/// The WebSocket URL for a client that holds `token`, at `url` (a server, or a whole endpoint), or at the local server.
pub(super) fn socket(config: &Config, url: Option<&str>, token: &str) -> Result<String, Failure> {
    let (base, dialect) = if let Some(url) = url {
        let base = url
            .trim_end_matches('/')
            .replacen("http", "ws", usize::from(url.starts_with("http")));
        (base, fanfare_dialects::ALL[0])
    } else {
        let (listener, address) = local(config)?;
        (format!("ws://{address}"), dialect_of(listener))
    };
    if !base.starts_with("ws://") && !base.starts_with("wss://") {
        return Err(Failure::Usage(
            "--url: expected ws://HOST[:PORT] or wss://HOST[:PORT]".into(),
        ));
    }
    let target = dialect.request_target(token);
    // A whole endpoint brings its own path; only the credential is missing.
    let base = base.strip_suffix(dialect.path()).unwrap_or(&base);
    Ok(format!("{base}{target}"))
}

fn dialect_of(listener: &Listener) -> &'static dyn DialectKind {
    let named = listener
        .dialects
        .iter()
        .find_map(|name| fanfare_dialects::find(name));
    named.map_or(fanfare_dialects::ALL[0], |(_, dialect)| dialect)
}
