//! Texts for errors of Redis and of its client library, safe for a log: one line without a password.

use std::sync::Arc;

use redis::{ConnectionInfo, RedisError};

use crate::texts;

/// Describes errors, with the servers' passwords replaced by `***`.
#[derive(Debug, Clone, Default)]
pub(super) struct ErrorTexts {
    passwords: Arc<[String]>,
}

impl ErrorTexts {
    /// Returns the texts for connections to these servers.
    pub(super) fn new<'a>(servers: impl IntoIterator<Item = &'a ConnectionInfo>) -> Self {
        let passwords = servers.into_iter().filter_map(|server| {
            let password = server.redis_settings().password()?;
            (!password.is_empty()).then(|| password.to_owned())
        });
        Self {
            passwords: passwords.collect(),
        }
    }

    /// Describes `error`.
    pub(super) fn describe(&self, error: &RedisError) -> String {
        if error.is_connection_refusal() {
            "connection refused".to_owned()
        } else if error.is_timeout() {
            "timed out".to_owned()
        } else if let Some(code) = error.code() {
            self.refused(code, error.detail())
        } else if error.is_connection_dropped() {
            "connection lost".to_owned()
        } else if let Some(system) = std::error::Error::source(error).and_then(io_error) {
            system.to_string()
        } else {
            error.category().to_owned()
        }
    }

    /// Describes an error that Redis answered with.
    pub(super) fn refused(&self, code: &str, detail: Option<&str>) -> String {
        match detail.map(|detail| self.printable(detail)) {
            Some(detail) if !detail.is_empty() => format!("Redis answered {code} {detail}"),
            _ => format!("Redis answered {code}"),
        }
    }

    /// Makes a server's text safe for a log. Redis may repeat the arguments of a command, which can contain a password.
    fn printable(&self, text: &str) -> String {
        // "ERR unknown command 'AUTH', with args beginning with: …"
        let mut text = text.split(", with args").next().unwrap_or_default().to_owned();
        for password in &*self.passwords {
            text = text.replace(password, "***");
        }
        texts::one_line(&text)
    }
}

/// Returns the system's error, which the client library wraps at several depths.
fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return io_error(shared.as_ref());
    }
    error.source().and_then(io_error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn errors_of_a_server_are_printed_without_arguments_and_passwords() {
        let servers = ["redis://:s3cret@h", "redis://:other@h", "redis://h"]
            .map(|url| super::super::address::read(url, None).unwrap());
        let texts = ErrorTexts::new(&servers);
        let cases = [
            (
                "unknown command 'AUTH', with args beginning with: 's3cret' ",
                "unknown command 'AUTH'",
            ),
            ("s3cret\r\nis wrong", "***is wrong"),
            ("neither s3cret nor other", "neither *** nor ***"),
            ("DB index is out of range", "DB index is out of range"),
        ];
        for (text, printed) in cases {
            assert_eq!(texts.printable(text), printed);
        }
        assert_eq!(texts.printable(&"x".repeat(1000)).len(), 160);
    }
}
