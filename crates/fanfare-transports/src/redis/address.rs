//! URLs of Redis servers, read and checked without connecting.

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use url::Url;

use crate::texts;

const FORM: &str = "expected redis://[[user]:password@]host[:port][/database]";

/// Reads `url`. A server behind TLS must have a certificate by `authorities`.
///
/// # Errors
/// If it is not usable. The reason contains no part of the URL, since any part may be a password.
pub(super) fn read(url: &str, authorities: Option<&TlsCertificates>) -> Result<ConnectionInfo, &'static str> {
    check(url)?;
    let info = url.into_connection_info().map_err(|_| FORM)?;
    if !is_encrypted(&info) {
        return Ok(info);
    }
    // Fails if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match authorities {
        Some(authorities) => {
            let client = Client::build_with_tls(info, authorities.clone()).map_err(|_| FORM)?;
            Ok(client.get_connection_info().clone())
        }
        None => Ok(info),
    }
}

/// Reads a URL of one of several servers, which have no numbered databases.
///
/// # Errors
/// As [`read`].
pub(super) fn read_one_of_many(
    url: &str,
    authorities: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, &'static str> {
    let info = read(url, authorities)?;
    if matches!(info.addr(), ConnectionAddr::Unix(_)) {
        return Err("found the path of a socket, expected a host");
    }
    if info.redis_settings().db() != 0 {
        return Err("found the number of a database, expected none");
    }
    Ok(info)
}

/// Returns whether the server is reached by TLS.
pub(super) fn is_encrypted(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Returns `info` with another host and port.
pub(super) fn with_address(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls {
            insecure, tls_params, ..
        } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(addr)
}

/// Returns the host and the port; for a socket, an empty host.
pub(super) fn host_and_port(info: &ConnectionInfo) -> (String, u16) {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        _ => (String::new(), 0),
    }
}

/// Returns the host and the port, or the path of the socket, for logs.
pub(super) fn place(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            texts::host_and_port(host, *port)
        }
        ConnectionAddr::Unix(path) => path.display().to_string(),
        other => other.to_string(),
    }
}

fn check(url: &str) -> Result<(), &'static str> {
    let url = Url::parse(url).map_err(|_| FORM)?;
    if url.fragment().is_some() {
        return Err(texts::FRAGMENT);
    }
    // The error does not repeat an unknown parameter: in `redis://user:1?secret@host` that is the secret.
    if matches!(url.scheme(), "unix" | "redis+unix") {
        let is_known = |name: &str| matches!(name, "db" | "user" | "pass" | "protocol");
        return if url.query_pairs().all(|(name, _)| is_known(&name)) {
            Ok(())
        } else {
            Err("found an unknown query parameter, expected `db`, `user`, `pass` or `protocol`")
        };
    }
    if url.query_pairs().any(|(name, _)| name != "protocol") {
        return Err(
            "found a query (what follows a `?`), expected none but `protocol`; a password stands before the host, as in \
             redis://:password@host, and a `?` in it is written `%3F`",
        );
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(
            "found no host, expected redis://host[:port][/database]; a socket's path belongs to unix:///path",
        );
    }
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(
            "found a path that is no number, expected the number of a database, as in redis://host/1",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls() {
        let good = [
            ("redis://h", "h:6379", 0),
            ("redis://h/", "h:6379", 0),
            ("redis://u:p%23ss%3F@h:1/2?protocol=resp2", "h:1", 2),
            ("rediss://:p@[::1]:7/0", "[::1]:7", 0),
            ("valkey://u:p@h", "h:6379", 0),
            ("valkeys://h:1/3", "h:1", 3),
            ("unix:///run/redis.sock?db=3&user=u&pass=p", "/run/redis.sock", 3),
            ("redis+unix:///run/redis.sock", "/run/redis.sock", 0),
        ];
        for (url, expected, database) in good {
            let info = read(url, None).unwrap();
            let found = (place(&info), info.redis_settings().db());
            assert_eq!(found, (expected.to_owned(), database), "{url}");
            let tls = url.starts_with("rediss:") || url.starts_with("valkeys:");
            assert_eq!(is_encrypted(&info), tls, "{url}");
            let elsewhere = with_address(&info, "::2", 9);
            let is_socket = url.contains("unix");
            assert_eq!(place(&elsewhere), "[::2]:9");
            assert_eq!(is_encrypted(&elsewhere), tls && !is_socket, "{url}");
        }
    }

    #[test]
    fn urls_that_are_not_usable() {
        let bad = [
            ("redis://:s3cret@ss#x@h", "fragment"),
            ("redis://:p@ss#s3cret@h", "fragment"),
            ("rediss://h/#insecure", "fragment"),
            ("valkeys://h/#insecure", "fragment"),
            ("redis://h?password=s3cret", "before the host"),
            ("redis://u:1?s3cret@h", "%3F"),
            ("redis://u:1?a=s3cret@h", "%3F"),
            ("redis://h?s3cret", "expected none but `protocol`"),
            ("redis://h?timeout=5", "expected none but `protocol`"),
            ("unix:///run/redis.sock?password=s3cret", "`pass`"),
            ("unix:///run/redis.sock?s3cret=1", "expected `db`"),
            ("redis:///s3cret", "found no host"),
            ("valkey:///s3cret", "found no host"),
            ("redis://h/s3cret", "number of a database"),
            ("redis://h/-1", "number of a database"),
            ("redis://h/1/2", "number of a database"),
            ("redis://h?protocol=s3cret", FORM),
            ("redis://:s3cret@", FORM),
            ("http://:s3cret@h", FORM),
            ("s3cret", FORM),
        ];
        for (url, expected) in bad {
            for error in [read(url, None), read_one_of_many(url, None)] {
                let error = error.unwrap_err();
                assert!(error.contains(expected), "{url}: {error}");
                assert!(!error.contains("s3cret"), "{url}: {error}");
            }
        }
        for (url, expected) in [
            ("unix:///run/redis.sock", "expected a host"),
            ("redis://h/1", "expected none"),
        ] {
            let error = read_one_of_many(url, None).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
