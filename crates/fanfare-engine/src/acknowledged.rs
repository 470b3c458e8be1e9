//! Reads from the kernel how many bytes the peers of sockets have acknowledged.
//!
//! Linux reports this by `sock_diag(7)`. It shows that the peer's kernel has the bytes, not that its program has read them;
//! behind a proxy, the peer is the proxy.

use tokio::net::TcpStream;

/// Numbers of bytes that were written to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketState {
    pub(super) acknowledged: u64,
    pub(super) unacknowledged: u64,
}

pub(super) struct SocketStates {
    #[cfg(target_os = "linux")]
    netlink: rustix::fd::OwnedFd,
}

#[cfg(not(target_os = "linux"))]
impl SocketStates {
    pub(super) fn open() -> Option<Self> {
        None
    }

    pub(super) fn of(&self, _: &TcpStream) -> Option<SocketState> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{IpAddr, SocketAddr};

    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
    };

    use super::{SocketState, SocketStates, TcpStream};

    /// The type of the request and its answer.
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const IPPROTO_TCP: u8 = 6;
    /// The address families in the protocol.
    const INET: u8 = 2;
    const INET6: u8 = 10;
    /// The attribute with `struct tcp_info`, and the bit that requests it.
    const INET_DIAG_INFO: u16 = 2;
    const WANTS_INFO: u8 = 1 << (INET_DIAG_INFO - 1);
    /// The lengths of `struct nlmsghdr` and `struct inet_diag_msg`, and the offset of `idiag_wqueue` in the second.
    const HEADER: usize = 16;
    const MESSAGE: usize = 72;
    const WQUEUE: usize = 60;
    /// The offset of `tcpi_bytes_acked` in `struct tcp_info`.
    const BYTES_ACKED: usize = 120;

    impl SocketStates {
        /// Opens a netlink socket; `None` if the system does not allow it.
        pub(crate) fn open() -> Option<Self> {
            let netlink = rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                Some(netlink::SOCK_DIAG),
            );
            netlink.ok().map(|netlink| Self { netlink })
        }

        /// Returns the state of `socket`, if the kernel reports it.
        pub(crate) fn of(&self, socket: &TcpStream) -> Option<SocketState> {
            let request = request(socket.local_addr().ok()?, socket.peer_addr().ok()?);
            let kernel = SocketAddrNetlink::new(0, 0);
            rustix::net::sendto(&self.netlink, &request, SendFlags::empty(), &kernel).ok()?;
            let mut answer = [0; 1024];
            // The kernel has written the answer before the request returned.
            let (_, length) = rustix::net::recv(&self.netlink, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
            state(answer.get(..length)?)
        }
    }

    /// Returns a `struct nlmsghdr` and a `struct inet_diag_req_v2` that names one socket.
    fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
        let family = if local.is_ipv4() { INET } else { INET6 };
        let mut body = vec![family, IPPROTO_TCP, WANTS_INFO, 0];
        body.extend(u32::MAX.to_ne_bytes()); // in any state
        body.extend(local.port().to_be_bytes());
        body.extend(peer.port().to_be_bytes());
        body.extend(address(local.ip()));
        body.extend(address(peer.ip()));
        body.extend(0u32.to_ne_bytes()); // by any interface
        body.extend([u8::MAX; 8]); // no cookie
        let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]); // no sequence number, and to the kernel
        message.extend(body);
        message
    }

    fn address(ip: IpAddr) -> [u8; 16] {
        match ip {
            IpAddr::V4(ip) => {
                let mut padded = [0; 16];
                padded[..4].copy_from_slice(&ip.octets());
                padded
            }
            IpAddr::V6(ip) => ip.octets(),
        }
    }

    /// Reads a `struct inet_diag_msg` and the `struct tcp_info` behind it.
    fn state(answer: &[u8]) -> Option<SocketState> {
        if u16_at(answer, 4)? != SOCK_DIAG_BY_FAMILY {
            return None; // an error, for example no such socket
        }
        let unacknowledged = u32_at(answer, HEADER + WQUEUE)?;
        let mut attribute = HEADER + MESSAGE;
        loop {
            let length = usize::from(u16_at(answer, attribute)?);
            if u16_at(answer, attribute + 2)? == INET_DIAG_INFO {
                let at = attribute + 4 + BYTES_ACKED;
                let acknowledged = answer.get(at..at + 8)?.try_into().ok()?;
                return Some(SocketState {
                    acknowledged: u64::from_ne_bytes(acknowledged),
                    unacknowledged: unacknowledged.into(),
                });
            }
            attribute += length.max(4).next_multiple_of(4);
        }
    }

    fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
    }

    fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn bytes_that_the_peer_has_read_are_acknowledged() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind).await else {
                continue; // a machine without IPv6
            };
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let Some(states) = SocketStates::open() else {
                return; // a sandbox without netlink
            };
            let before = states.of(&server).unwrap();
            server.write_all(b"hello").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            let all = loop {
                let now = states.of(&server).unwrap();
                if now.unacknowledged == 0 {
                    break now;
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(all.acknowledged - before.acknowledged, 5, "{bind}");
            // The client reads nothing more, so both sides' buffers fill.
            loop {
                match server.try_write(&[0; 8192]) {
                    Ok(_) => {}
                    Err(_) if states.of(&server).unwrap().unacknowledged > 0 => break,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        }
    }
}
