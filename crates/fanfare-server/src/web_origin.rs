//! Converts web origins (RFC 6454) to a comparable form.

/// Returns `origin` as a browser sends it: in lower case, without a default port, the host's name in ASCII. `None` if
/// it is neither `scheme://host[:port]`, nor one of the two origins without a host: `null` and `file://`.
pub(crate) fn canonical_origin(origin: &str) -> Option<String> {
    let lower = origin.to_lowercase();
    match &*lower {
        "null" => return Some(lower),
        "file://" | "file:///" => return Some("file://".to_owned()),
        _ => {}
    }
    let origin = lower.strip_suffix('/').unwrap_or(&lower);
    let (scheme, host) = origin.split_once("://")?;
    let is_scheme = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    let is_host = |char: char| char.is_alphanumeric() || "-._:[]".contains(char);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.chars().all(is_scheme)
        || host.is_empty()
        || !host.chars().all(is_host)
    {
        return None;
    }
    // Other schemes (`capacitor://localhost`) have no default port, and browsers send them as they are.
    if !matches!(scheme, "http" | "https" | "ws" | "wss") {
        return origin.is_ascii().then(|| origin.to_owned());
    }
    let url = reqwest::Url::parse(origin).ok()?;
    Some(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_one_canonical_form() {
        for (text, expected) in [
            ("https://app.example.com", Some("https://app.example.com")),
            ("HTTPS://App.Example.com:443/", Some("https://app.example.com")),
            ("http://app.example.com:8080", Some("http://app.example.com:8080")),
            ("Tauri://LocalHost", Some("tauri://localhost")),
            ("chrome-extension://abc", Some("chrome-extension://abc")),
            ("NULL", Some("null")),
            ("file:///", Some("file://")),
            ("", None),
            ("app.example.com", None),
            ("https://", None),
            ("https:///a", None),
            ("https://a.example/path", None),
            ("https://user@a.example", None),
            ("https://a.example:99999", None),
            ("https://a.example:", Some("https://a.example")),
            ("https://*.example", None),
            ("://a", None),
            ("1a://b", None),
            ("file://host/path", None),
        ] {
            assert_eq!(canonical_origin(text).as_deref(), expected, "{text}");
        }
    }
}
