//! Texts for logs and errors that all transports write in one form.

/// The reason against a URL with a fragment.
pub(crate) const FRAGMENT: &str =
    "found a fragment (what follows a `#`), expected none; write a `#` in a password as `%23`";

/// Makes a server's text safe for a log: one line of at most 160 characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// Joins `host` and `port`; an IPv6 address gets brackets.
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
