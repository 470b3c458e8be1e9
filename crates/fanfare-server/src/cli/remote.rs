//! The server that `publish` and `listen` connect to.

use super::Failure;
use crate::config::{Config, Listener};

/// Returns the listeners that this machine can reach without TLS.
pub(super) fn reachable(config: &Config) -> impl Iterator<Item = &Listener> {
    let listeners = config.listener.iter();
    listeners.filter(|listener| listener.tls.is_none() && listener.bind.port() != 0)
}

/// Returns the failure if there are none.
pub(super) fn unreachable() -> Failure {
    Failure::Usage(
        "no listener with a fixed port and without TLS is configured: name the server with --url".into(),
    )
}

/// Returns the address of a listener for this machine: `HOST:PORT/PREFIX`.
pub(super) fn address(listener: &Listener) -> String {
    let address = listener.bind.from_this_machine();
    format!("{address}{}", listener.prefix.trim_end_matches('/'))
}

/// Returns the URL of the service API below `url`, or below the local server's.
pub(super) fn api(config: &Config, url: Option<&str>, path: &str) -> Result<String, Failure> {
    let base = if let Some(url) = url {
        url.trim_end_matches('/').to_owned()
    } else {
        let listener = reachable(config).next().ok_or_else(unreachable)?;
        format!("http://{}", address(listener))
    };
    if !base.starts_with("http://") && !base.starts_with("https://") {
        return Err(Failure::Usage(
            "--url: expected http://HOST[:PORT] or https://HOST[:PORT]".into(),
        ));
    }
    Ok(format!("{base}{path}"))
}
