//! Opens listening sockets: one for each shard, on each socket address of a configured address.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::BindAddress;

/// The connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The most attempts to find a port that is free in both address families.
const PORTS_TRIED: usize = 16;

pub(crate) struct Bound {
    /// The address, with the port that the system chose.
    pub(crate) address: SocketAddr,
    /// A socket for each shard; the kernel spreads connections over them.
    pub(crate) sockets: Vec<TcpListener>,
}

#[derive(Debug)]
pub(crate) struct BindError {
    pub(crate) address: SocketAddr,
    pub(crate) error: io::Error,
}

/// Binds every address of `bind`, `count` times each. Addresses of a family that this machine lacks are skipped if others remain.
/// `dual_stack` lets an IPv6 socket accept IPv4. A socket in `passed`, which already listens, is used instead of a new one.
pub(crate) fn bind(
    bind: BindAddress,
    dual_stack: bool,
    count: usize,
    passed: &mut Vec<TcpListener>,
) -> Result<Vec<Bound>, BindError> {
    let addresses = bind.sockets();
    for _ in 1..PORTS_TRIED {
        match bind_all(&addresses, dual_stack, count, passed) {
            Err(taken) if bind.port() == 0 && taken.error.kind() == ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    bind_all(&addresses, dual_stack, count, passed)
}

fn bind_all(
    addresses: &[SocketAddr],
    dual_stack: bool,
    count: usize,
    passed: &mut Vec<TcpListener>,
) -> Result<Vec<Bound>, BindError> {
    let mut all: Vec<Bound> = Vec::new();
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        if let Some(first) = all.first() {
            address.set_port(first.address.port());
        }
        let has_address = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == address);
        let bound = match passed.iter().position(has_address) {
            Some(found) => share(passed.swap_remove(found), address, count),
            None => bind_one(address, dual_stack, count),
        };
        match bound {
            Ok(bound) => all.push(bound),
            Err(error) if is_missing(&error) => missing = Some(BindError { address, error }),
            Err(error) => return Err(BindError { address, error }),
        }
    }
    match missing {
        Some(missing) if all.is_empty() => Err(missing),
        _ => Ok(all),
    }
}

/// Returns whether this machine lacks the address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// Shares one socket among all shards: the socket that was passed keeps its queue while no process serves it.
fn share(socket: TcpListener, address: SocketAddr, count: usize) -> io::Result<Bound> {
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_tcp_nodelay(true)?;
    let clones = (1..count).map(|_| socket.try_clone());
    let mut sockets = clones.collect::<io::Result<Vec<_>>>()?;
    sockets.push(socket);
    Ok(Bound { address, sockets })
}

fn bind_one(address: SocketAddr, dual_stack: bool, count: usize) -> io::Result<Bound> {
    // Sockets with SO_REUSEPORT would silently share the port with another server of the same user. Binding an exclusive socket first fails
    // if there is one; with port 0 it also chooses the port.
    let exclusive = open(address, dual_stack, false)?;
    let address = exclusive.local_addr()?.as_socket().unwrap_or(address);
    if count == 1 {
        let sockets = vec![exclusive.into()];
        return Ok(Bound { address, sockets });
    }
    drop(exclusive);
    let sockets = (0..count).map(|_| Ok(open(address, dual_stack, true)?.into()));
    Ok(Bound {
        address,
        sockets: sockets.collect::<io::Result<_>>()?,
    })
}

fn open(address: SocketAddr, dual_stack: bool, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?; // the system's default varies
    }
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?; // connections inherit it on Linux
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn bound(text: &str, dual_stack: bool, count: usize) -> Result<Vec<Bound>, BindError> {
        bind(text.parse().unwrap(), dual_stack, count, &mut Vec::new())
    }

    fn reaches(ip: &str, port: u16) -> bool {
        TcpStream::connect((ip, port)).is_ok()
    }

    fn has_ipv6() -> bool {
        TcpListener::bind("[::1]:0").is_ok()
    }

    #[test]
    fn one_port_in_both_families() {
        for count in [1, 3] {
            let v4 = bound("0.0.0.0:0", true, count).unwrap();
            let port = v4[0].address.port();
            assert_eq!((v4.len(), v4[0].sockets.len()), (1, count));
            if has_ipv6() {
                let v6 = bound(&format!("[::]:{port}"), false, count).unwrap();
                assert!(reaches("::1", port) && reaches("127.0.0.1", port));
                drop(v4);
                assert!(!reaches("127.0.0.1", port), "IPv4 is left to the other");
                drop(v6);
            }
        }
    }

    #[test]
    fn dual_stack() {
        if has_ipv6() {
            let both = bound("[::]:0", true, 2).unwrap();
            let port = both[0].address.port();
            assert!(reaches("::1", port) && reaches("127.0.0.1", port));
        }
    }

    #[test]
    fn localhost_and_every_address() {
        for text in ["localhost:0", ":0"] {
            let bound = bound(text, false, 2).unwrap();
            let ports: Vec<u16> = bound.iter().map(|bound| bound.address.port()).collect();
            assert!(ports.iter().all(|port| *port == ports[0]), "{text}: {ports:?}");
            assert_eq!(bound.len(), 1 + usize::from(has_ipv6()), "{text}");
            assert!(reaches("127.0.0.1", ports[0]), "{text}");
        }
    }

    #[test]
    fn a_port_has_one_owner() {
        let holder = bound("127.0.0.1:0", true, 2).unwrap();
        let port = holder[0].address.port();
        for text in [
            format!("127.0.0.1:{port}"),
            format!("0.0.0.0:{port}"),
            format!("localhost:{port}"),
            format!(":{port}"),
        ] {
            for count in [1, 2] {
                let error = bound(&text, true, count).err().unwrap();
                assert_eq!(error.error.kind(), ErrorKind::AddrInUse, "{text}");
                assert_eq!(error.address.port(), port);
            }
        }
    }

    #[test]
    fn a_passed_socket_is_used() {
        let passed = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, other) = (passed(), passed());
        let port = own.local_addr().unwrap().port();
        let mut sockets = vec![other, own];
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let bound = bind(address, false, 3, &mut sockets).unwrap();
        assert_eq!((bound[0].sockets.len(), sockets.len()), (3, 1));
        assert!(reaches("127.0.0.1", port));
        for socket in &bound[0].sockets[..2] {
            assert_eq!(socket.local_addr().unwrap().port(), port);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_send_small_messages_at_once() {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap().to_string().parse().unwrap();
        let passed = bind(address, false, 1, &mut vec![passed]).unwrap();
        for bound in [passed, bound("127.0.0.1:0", true, 1).unwrap()] {
            let _client = TcpStream::connect(bound[0].address).unwrap();
            assert!(bound[0].sockets[0].accept().unwrap().0.nodelay().unwrap());
        }
    }

    #[test]
    fn an_address_of_another_machine() {
        let error = bound("192.0.2.1:0", true, 1).err().unwrap();
        assert_eq!(error.error.kind(), ErrorKind::AddrNotAvailable);
    }
}
