//! The address of a listening socket in the configuration, and the sockets that it opens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use fanfare_core::serde_as_text;
use schemars::JsonSchema;

/// An address to listen on: an IP address, `localhost` or every address of the machine, and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("x-kind" = "address"))]
pub struct BindAddress {
    pub(super) host: BindHost,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BindHost {
    /// One IP address; `0.0.0.0` and `[::]` mean all of a family. The number is the scope of an IPv6 address.
    Ip(IpAddr, u32),
    /// Both loopback addresses.
    Localhost,
    /// Every address of the machine, written without a host.
    Every,
}

impl BindAddress {
    /// Returns the port; 0 lets the system choose one.
    pub fn port(self) -> u16 {
        self.port
    }

    /// Returns the addresses to open a socket on. A machine may lack those of one family.
    pub fn sockets(self) -> Vec<SocketAddr> {
        let socket = |ip: IpAddr| SocketAddr::new(ip, self.port);
        let both = |v4: Ipv4Addr, v6: Ipv6Addr| vec![socket(v4.into()), socket(v6.into())];
        match self.host {
            BindHost::Ip(IpAddr::V6(ip), scope) => {
                vec![std::net::SocketAddrV6::new(ip, self.port, 0, scope).into()]
            }
            BindHost::Ip(ip, _) => vec![socket(ip)],
            BindHost::Localhost => both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            BindHost::Every => both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Returns the address for a program on this machine.
    pub fn from_this_machine(self) -> SocketAddr {
        let ip = match self.host {
            BindHost::Ip(IpAddr::V6(ip), _) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            BindHost::Ip(ip, _) if !ip.is_unspecified() => ip,
            BindHost::Ip(..) | BindHost::Localhost | BindHost::Every => Ipv4Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, self.port)
    }

    /// Returns whether only programs on this machine can connect.
    pub fn is_loopback(self) -> bool {
        self.sockets().iter().all(|socket| socket.ip().is_loopback())
    }

    /// Returns whether the system would refuse the second of two addresses. `[::]` leaves IPv4 to another.
    pub(super) fn conflicts_with(self, other: Self) -> bool {
        let (own, theirs) = (self.sockets(), other.sockets());
        own.iter()
            .any(|own| theirs.iter().any(|other| overlap(*own, *other)))
    }

    pub(super) fn is_ip(self) -> bool {
        matches!(self.host, BindHost::Ip(..))
    }

    /// Returns whether this is `[::]`, and `other` has its port on IPv4.
    pub(super) fn leaves_ipv4_to(self, other: Self) -> bool {
        let is_every_ipv6 = matches!(self.host, BindHost::Ip(IpAddr::V6(ip), _) if ip.is_unspecified());
        is_every_ipv6 && self.port == other.port && other.sockets().iter().any(SocketAddr::is_ipv4)
    }
}

/// Returns whether two sockets exclude each other. Port 0 is a new port each time, so it overlaps with none.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

impl From<SocketAddr> for BindAddress {
    fn from(socket: SocketAddr) -> Self {
        let scope = match socket {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(socket) => socket.scope_id(),
        };
        Self {
            // An IPv4 address in IPv6 form is bound as IPv4; otherwise it would need a dual-stack socket.
            host: BindHost::Ip(socket.ip().to_canonical(), scope),
            port: socket.port(),
        }
    }
}

impl FromStr for BindAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(socket.into());
        }
        let (host, port) = text.rsplit_once(':').ok_or("no port")?;
        let host = match host {
            "" => BindHost::Every,
            name if name.eq_ignore_ascii_case("localhost") => BindHost::Localhost,
            _ => return Err("the host is neither an IP address nor \"localhost\"".to_owned()),
        };
        // `u16` would accept a sign.
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).ok_or("no port")?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            BindHost::Ip(..) => self.sockets().iter().try_for_each(|socket| write!(f, "{socket}")),
            BindHost::Localhost => write!(f, "localhost:{}", self.port),
            BindHost::Every => write!(f, ":{}", self.port),
        }
    }
}

serde_as_text!(BindAddress);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bind(text: &str) -> BindAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_as_written() {
        for (text, printed, sockets, local) in [
            ("0.0.0.0:1", "0.0.0.0:1", &["0.0.0.0:1"][..], "127.0.0.1:1"),
            ("[::]:1", "[::]:1", &["[::]:1"], "[::1]:1"),
            ("10.0.0.7:1", "10.0.0.7:1", &["10.0.0.7:1"], "10.0.0.7:1"),
            ("[::ffff:10.0.0.7]:1", "10.0.0.7:1", &["10.0.0.7:1"], "10.0.0.7:1"),
            (
                "localhost:80",
                "localhost:80",
                &["127.0.0.1:80", "[::1]:80"],
                "127.0.0.1:80",
            ),
            (
                "LocalHost:80",
                "localhost:80",
                &["127.0.0.1:80", "[::1]:80"],
                "127.0.0.1:80",
            ),
            (":0", ":0", &["0.0.0.0:0", "[::]:0"], "127.0.0.1:0"),
        ] {
            let found = bind(text);
            assert_eq!(found.to_string(), printed, "{text}");
            let opened: Vec<String> = found.sockets().iter().map(ToString::to_string).collect();
            assert_eq!(opened, sockets, "{text}");
            assert_eq!(found.from_this_machine().to_string(), local, "{text}");
        }
        for text in [
            "",
            ":",
            "8080",
            "localhost",
            "localhost:",
            ":65536",
            ":+1",
            "example.com:80",
            "*:80",
            "::1:80x",
        ] {
            assert!(text.parse::<BindAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn conflicts() {
        for (one, other, expected) in [
            ("0.0.0.0:1", "[::]:1", false),
            ("127.0.0.1:1", "[::]:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            (":0", ":0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("localhost:1", "127.0.0.1:1", true),
            ("localhost:1", "[::1]:1", true),
            ("localhost:1", "[::]:1", true),
            ("localhost:1", ":1", true),
            (":1", "0.0.0.0:1", true),
            (":1", "[::]:1", true),
            (":1", "10.0.0.7:1", true),
        ] {
            assert_eq!(bind(one).conflicts_with(bind(other)), expected, "{one} {other}");
            assert_eq!(bind(other).conflicts_with(bind(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn loopback_addresses() {
        for (text, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.9.1:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            (":1", false),
            ("[::]:1", false),
            ("10.0.0.7:1", false),
        ] {
            assert_eq!(bind(text).is_loopback(), loopback, "{text}");
        }
    }
}
