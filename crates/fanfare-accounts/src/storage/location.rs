//! The database's location in the configuration: `sqlite://PATH` or `postgres://…`.
//!
//! It is not a plain URL, because a URL parser would read the first folder of a relative path as a host, and would
//! silently remove `..`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use fanfare_core::{GuardedUrl, serde_as_text};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The characters of a path that are escaped in a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const SQLITE: &str = "sqlite://";

/// The location of a database. `Debug`, `Display` and `Serialize` omit parts that may be a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// An SQLite database in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(GuardedUrl),
}

impl StorageUrl {
    /// The accepted forms of `storage.url`, for error texts.
    pub const EXPECTED: &'static str = "\"sqlite://FILE\" or \"postgres://USER:PASSWORD@HOST/DATABASE\"";

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Returns the URL of the SQLite file `name` in `folder`.
    pub fn text_of_file(folder: &str, name: &str) -> String {
        let folder = if folder.is_empty() {
            "."
        } else {
            folder.trim_end_matches('/')
        };
        format!("{SQLITE}{}/{name}", utf8_percent_encode(folder, ESCAPED))
    }
}

impl FromStr for StorageUrl {
    type Err = &'static str;

    /// The error never repeats the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix(SQLITE) {
            if path.contains(['?', '#']) {
                return Err("an SQLite database takes no parameters (write `?` in a name as %3F)");
            }
            let path = percent_decode_str(path).decode_utf8();
            let path = path.map_err(|_| "the path is not UTF-8")?;
            if path.is_empty() || path.ends_with('/') || path.contains('\0') || path.starts_with(":memory:") {
                return Err("an SQLite database needs the path of a file");
            }
            return Ok(Self::Sqlite(PathBuf::from(&*path)));
        }
        let rewritten = with_parameters(text);
        let text = rewritten.as_deref().unwrap_or(text);
        let url: GuardedUrl = text.parse().map_err(|_| "not a URL with a scheme")?;
        match url.scheme() {
            "postgres" | "postgresql" => Ok(Self::Postgres(url)),
            _ => Err("an unknown kind of database"),
        }
    }
}

/// Moves the user, password and port of a PostgreSQL URL without a host into its parameters, because a URL parser refuses
/// a user without a host. libpq reads such a URL as a Unix socket (`postgres://user@/db?host=/folder`). Returns `None`
/// for any other URL.
fn with_parameters(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (user_info, host) = authority.rsplit_once('@')?;
    let port = match host {
        "" => None,
        host => Some(host.strip_prefix(':')?),
    };
    let mut url = url::Url::parse(&format!("{scheme}://{}", &rest[authority.len()..])).ok()?;
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    let named = [
        ("user", Some(user).filter(|user| !user.is_empty())),
        ("password", password),
        ("port", port),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            let value = percent_decode_str(value).decode_utf8().ok()?;
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    Some(url.into())
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => {
                let path = path.to_string_lossy();
                write!(f, "{SQLITE}{}", utf8_percent_encode(&path, ESCAPED))
            }
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(StorageUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_databases_are_parsed_and_printed_without_secrets() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<StorageUrl>().ok();
            assert_eq!(found.map(|url| url.to_string()).as_deref(), expected, "{text}");
        };
        check("sqlite://data/fanfare.db", Some("sqlite://data/fanfare.db"));
        check("sqlite://data/../fanfare.db", Some("sqlite://data/../fanfare.db"));
        check("sqlite:///var/lib/f.db", Some("sqlite:///var/lib/f.db"));
        check("sqlite://my%20data/f%3F.db", Some("sqlite://my%20data/f%3F.db"));
        check("postgres://u:secret@h:5432/d", Some("postgres://***@h:5432/d"));
        check("postgresql://h/d?password=secret", Some("postgresql://h/d?***"));
        // Unix sockets
        check("postgres:///d?host=/run/postgresql", Some("postgres:///d?***"));
        check("postgres://u@/d?host=/run/postgresql", Some("postgres:///d?***"));
        check("postgres://u:secret@:5433/d?host=/run", Some("postgres:///d?***"));
        check(
            "postgres://u@%2Frun%2Fpostgresql/d",
            Some("postgres://***@%2Frun%2Fpostgresql/d"),
        );
        for bad in [
            "",
            "data/fanfare.db",
            "sqlite:data.db",
            "sqlite://",
            "sqlite://data/",
            "sqlite://:memory:",
            "sqlite://a.db?mode=ro",
            "sqlite://%FF.db",
            "mysql://h/d",
            "postgres:/h/d",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_user_of_a_url_without_a_host_becomes_a_parameter() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(with_parameters(text).as_deref(), expected, "{text}");
        };
        check(
            "postgres://u:p%40%2B+&s@/d?host=/run",
            Some("postgres:///d?host=/run&user=u&password=p%40%2B%2B%26s"),
        );
        check("postgres://u@:5433/d", Some("postgres:///d?user=u&port=5433"));
        check("postgres://u@h/d", None);
        check("postgres://u@h:1/d", None);
        check("postgres:///d", None);
        check("nonsense", None);
    }

    #[test]
    fn a_file_in_a_folder_has_a_url() {
        let check = |folder: &str, expected: &str, path: &str| {
            let text = StorageUrl::text_of_file(folder, "fanfare.db");
            assert_eq!(text, expected, "{folder}");
            assert_eq!(
                text.parse(),
                Ok(StorageUrl::Sqlite(PathBuf::from(path))),
                "{folder}"
            );
        };
        check("data", "sqlite://data/fanfare.db", "data/fanfare.db");
        check("/var/lib/", "sqlite:///var/lib/fanfare.db", "/var/lib/fanfare.db");
        check("a b@c?", "sqlite://a%20b%40c%3F/fanfare.db", "a b@c?/fanfare.db");
        check(".", "sqlite://./fanfare.db", "./fanfare.db");
        check("/", "sqlite:///fanfare.db", "/fanfare.db");
    }
}
