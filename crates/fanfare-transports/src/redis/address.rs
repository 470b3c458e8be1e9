//! Where a Redis server is: its URL, read and checked without connecting.

use std::sync::Arc;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisError};
use url::Url;

use crate::OpenError;

const FORM: &str = "expected redis://[[user]:password@]host[:port][/database]";
/// Query parameters of URLs with a host.
const OF_HOSTS: &[&str] = &["protocol"];
/// Query parameters of URLs with the path of a socket.
const OF_SOCKETS: &[&str] = &["db", "user", "pass", "protocol"];
/// Parameters that other clients know for a password.
const PASSWORDS: &[&str] = &["password", "passwd", "pass", "auth"];

/// A Redis server that can be connected to.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) client: redis::Client,
    /// The host and the port, or the path of the socket.
    pub(super) place: String,
    /// What no error text may contain.
    password: Option<String>,
}

impl Address {
    /// Reads `url`.
    ///
    /// # Errors
    /// When it is not usable. The text contains no part of the URL, since any part may be a password.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("rediss:") {
            // Fails when there is one already, and then that one serves.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        check(url).map_err(OpenError::BadUrl)?;
        let info = url.into_connection_info().map_err(|_| OpenError::BadUrl(FORM))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            }
            ConnectionAddr::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        };
        let password = info.redis_settings().password().map(str::to_owned);
        let client = redis::Client::open(info).map_err(|_| OpenError::BadUrl(FORM))?;
        Ok(Self {
            client,
            place,
            password: password.filter(|password| !password.is_empty()),
        })
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    /// Describes `error` without a password or anything published.
    pub(super) fn describe(&self, error: &RedisError) -> String {
        if error.is_connection_refusal() {
            "connection refused".to_owned()
        } else if error.is_timeout() {
            "timed out".to_owned()
        } else if let Some(code) = error.code() {
            self.answered(code, error.detail())
        } else if error.is_connection_dropped() {
            "connection lost".to_owned()
        } else if let Some(system) = std::error::Error::source(error).and_then(io_error) {
            system.to_string()
        } else {
            error.category().to_owned()
        }
    }

    /// Describes an error that Redis answered with.
    pub(super) fn answered(&self, code: &str, detail: Option<&str>) -> String {
        match detail.map(|detail| self.printable(detail)) {
            Some(detail) if !detail.is_empty() => format!("Redis answered {code} {detail}"),
            _ => format!("Redis answered {code}"),
        }
    }

    /// `text` of the server, fit for a log: one line, without what it may repeat of a command's arguments.
    pub(super) fn printable(&self, text: &str) -> String {
        // "ERR unknown command 'AUTH', with args beginning with: …"
        let text = text.split(", with args").next().unwrap_or_default();
        let text = match &self.password {
            Some(password) => text.replace(password.as_str(), "***"),
            None => text.to_owned(),
        };
        text.chars().filter(|c| !c.is_control()).take(160).collect()
    }
}

/// The library wraps what the system said at several depths.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return io_error(shared.as_ref());
    }
    error.source().and_then(io_error)
}

fn check(url: &str) -> Result<(), &'static str> {
    let url = Url::parse(url).map_err(|_| FORM)?;
    if url.fragment().is_some() {
        return Err(
            "found a fragment (what follows a `#`), expected none; write a `#` in a password as `%23`",
        );
    }
    let of_socket = matches!(url.scheme(), "unix" | "redis+unix");
    let known = if of_socket { OF_SOCKETS } else { OF_HOSTS };
    for (name, value) in url.query_pairs() {
        if known.contains(&&*name) {
            continue;
        }
        if PASSWORDS.contains(&&*name) {
            return Err(if of_socket {
                "found a query parameter for a password that is not known, expected `pass`"
            } else {
                "found a password among the query parameters, expected it before the host, as in redis://:password@host"
            });
        }
        // Its name is not repeated: of `redis://user:1?secret@host` it would be the secret.
        return Err(match (value.contains('@') || name.contains('@'), of_socket) {
            (true, _) => {
                "found a query (what follows a `?`) with an `@` in it; write a `?` in a password as `%3F`"
            }
            (false, true) => "found an unknown query parameter, expected `db`, `user`, `pass` or `protocol`",
            (false, false) => "found an unknown query parameter, expected none but `protocol`",
        });
    }
    if of_socket {
        return Ok(());
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
            ("unix:///run/redis.sock?db=3&user=u&pass=p", "/run/redis.sock", 3),
            ("redis+unix:///run/redis.sock", "/run/redis.sock", 0),
        ];
        for (url, place, database) in good {
            let address = Address::parse(url).unwrap();
            assert_eq!((&*address.place, address.database()), (place, database), "{url}");
        }
        let bad = [
            ("redis://:s3cret@ss#x@h", "fragment"),
            ("redis://:p@ss#s3cret@h", "fragment"),
            ("rediss://h/#insecure", "fragment"),
            ("redis://h?password=s3cret", "before the host"),
            ("redis://u:1?s3cret@h", "%3F"),
            ("redis://u:1?a=s3cret@h", "%3F"),
            ("redis://h?s3cret", "expected none but `protocol`"),
            ("redis://h?timeout=5", "expected none but `protocol`"),
            ("unix:///run/redis.sock?password=s3cret", "expected `pass`"),
            ("unix:///run/redis.sock?s3cret=1", "expected `db`"),
            ("redis:///s3cret", "found no host"),
            ("redis://h/s3cret", "number of a database"),
            ("redis://h/-1", "number of a database"),
            ("redis://h/1/2", "number of a database"),
            ("redis://h?protocol=s3cret", FORM),
            ("redis://:s3cret@", FORM),
            ("http://:s3cret@h", FORM),
            ("s3cret", FORM),
        ];
        for (url, expected) in bad {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn what_a_server_says_is_printed_without_arguments() {
        let address = Address::parse("redis://:s3cret@h").unwrap();
        let cases = [
            (
                "unknown command 'AUTH', with args beginning with: 's3cret' ",
                "unknown command 'AUTH'",
            ),
            ("s3cret\r\nis wrong", "***is wrong"),
            ("DB index is out of range", "DB index is out of range"),
        ];
        for (said, printed) in cases {
            assert_eq!(address.printable(said), printed);
        }
        assert_eq!(address.printable(&"x".repeat(1000)).len(), 160);
    }
}
