//! Texts for the errors of Redis and of its client, safe for a log: one line without a password.

use std::sync::Arc;

use redis::{ConnectionInfo, RedisError};

/// Describes errors without the passwords that it knows.
#[derive(Debug, Clone, Default)]
pub(super) struct ErrorTexts {
    passwords: Arc<[String]>,
}

impl ErrorTexts {
    /// For connections to these servers.
    pub(super) fn new<'a>(servers: impl IntoIterator<Item = &'a ConnectionInfo>) -> Self {
        let passwords = servers.into_iter().filter_map(|server| {
            let password = server.redis_settings().password()?;
            (!password.is_empty()).then(|| password.to_owned())
        });
        Self {
            passwords: passwords.collect(),
        }
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

    /// Makes a server's text safe for a log: one line, without the command's arguments that it may repeat.
    fn printable(&self, text: &str) -> String {
        // "ERR unknown command 'AUTH', with args beginning with: …"
        let mut text = text.split(", with args").next().unwrap_or_default().to_owned();
        for password in &*self.passwords {
            text = text.replace(password, "***");
        }
        text.chars().filter(|c| !c.is_control()).take(160).collect()
    }
}

/// Returns the system's error, which the library wraps at several depths.
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
    fn what_a_server_says_is_printed_without_arguments() {
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
        for (said, printed) in cases {
            assert_eq!(texts.printable(said), printed);
        }
        assert_eq!(texts.printable(&"x".repeat(1000)).len(), 160);
    }
}
