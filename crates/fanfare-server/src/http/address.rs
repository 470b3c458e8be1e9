//! The client's address behind proxies.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Once,
};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::headers::all_of;

/// Returns the client's address: the peer's, or, if the peer is a trusted proxy, the last one in `X-Forwarded-For` that is not a trusted
/// proxy. The client may have written the addresses before that one, so they are ignored.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    let values = all_of(headers, "x-forwarded-for");
    for hop in values.rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = parse(hop.trim()) else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// Warns of a request from a proxy although no proxy is trusted; once in the life of the process.
pub(super) fn warn_of_proxy(peer: IpAddr, headers: &HeaderMap) {
    static WARNED: Once = Once::new();
    if WARNED.is_completed() || !FORWARDED.iter().any(|name| headers.contains_key(name)) {
        return;
    }
    WARNED.call_once(|| {
        tracing::warn!(
            %peer,
            "a request was passed on by a proxy, and limits.trusted_proxies is not set: all clients of that proxy count as one \
             address and share its limits. If the peer is your proxy, list it there; it must set X-Forwarded-For"
        );
    });
}

static FORWARDED: [HeaderName; 2] = [HeaderName::from_static("x-forwarded-for"), header::FORWARDED];

/// Parses an address as proxies write it: bare, in brackets, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bracketed.unwrap_or(text).parse();
    let address = bare.or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_trusted_proxy_sets_the_address() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.9", &[], "203.0.113.9"),
            ("203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        ];
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a network")];
        for (peer, forwarded, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in *forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let found = client(peer.parse().expect("an address"), &headers, &trusted);
            assert_eq!(found.to_string(), *expected, "{peer} {forwarded:?}");
        }
    }
}
