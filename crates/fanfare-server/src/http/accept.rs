//! Accepts the connections of a listener, and starts to serve each.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fanfare_engine::{Pace, Shard};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

use super::{Site, connection, tls};
use crate::{
    causes::Causes,
    refusals::{Refused, Subject},
    resp,
};

/// The pause after `accept` failed, most often for lack of descriptors: long enough not to spin, short enough to
/// recover soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted in one pass; each takes some ten microseconds.
const ACCEPTS_PER_PASS: usize = 16;

/// The service behind a listening socket.
#[derive(Clone)]
pub enum Door {
    /// HTTP and WebSocket.
    Http(Arc<Site>),
    /// The Redis protocol, for at most this number of connections.
    Resp(Arc<resp::RedisDoor>, u64),
}

/// Accepts connections on `listener` for ever, on the shard's thread. `pace` limits how much of the thread requests use; publishers on the
/// Redis-protocol door are not limited, because events pass there.
///
/// # Errors
/// If the listener cannot be registered with the runtime.
pub async fn serve(
    listener: std::net::TcpListener,
    door: Door,
    shard: Rc<Shard>,
    pace: Rc<Pace>,
) -> io::Result<()> {
    let mut listener = PacedListener {
        listener: TcpListener::from_std(listener)?,
        accepted: 0,
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // On Linux connections inherit it from the listening socket. If it fails, the peer is gone, and the first read fails, too.
                #[cfg(not(target_os = "linux"))]
                let _ = stream.set_nodelay(true);
                match door.clone() {
                    Door::Http(site) => {
                        // Boxed, because spawning moves a task several times.
                        let serving = Box::pin(serve_http(stream, peer, site, shard.clone(), pace.clone()));
                        tokio::task::spawn_local(pace.clone().paced(serving));
                    }
                    Door::Resp(door, max) => {
                        tokio::task::spawn_local(serve_redis(stream, peer, door, max));
                    }
                }
            }
            Err(error) => {
                // The first of a series is logged; the rest are counted.
                let errors = &shard.node.counters.accept_errors;
                if errors.fetch_add(1, Relaxed).is_multiple_of(1000) {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A listener that yields to the shard's other tasks after every few connections.
struct PacedListener {
    listener: TcpListener,
    accepted: usize,
}

impl PacedListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.accepted == ACCEPTS_PER_PASS {
            self.accepted = 0;
            tokio::task::yield_now().await;
        }
        self.accepted += 1;
        self.listener.accept().await
    }
}

async fn serve_http(stream: TcpStream, peer: SocketAddr, site: Arc<Site>, shard: Rc<Shard>, pace: Rc<Pace>) {
    let by = Instant::now() + site.rules().handshake_timeout;
    let Some(acceptor) = site.rules().tls.clone() else {
        return connection::serve(stream, peer.ip(), by, site, shard, pace).await;
    };
    let accepting = Box::pin(acceptor.accept(stream)); // plain connections would pay for its size
    match timeout_at(by, accepting).await {
        Ok(Ok(stream)) if tls::was_challenge(stream.get_ref().1) => {}
        Ok(Ok(stream)) => Box::pin(connection::serve(stream, peer.ip(), by, site, shard, pace)).await,
        Ok(Err(error)) => site.gate.refusals.note(&Refused {
            subject: Subject::Connection,
            dialect: None,
            reason: "tls_handshake",
            detail: Some(&Causes(&error)),
            peer: Some(peer.ip()),
            is_warning: false,
        }),
        Err(_) => {
            shard.node.counters.handshakes_timed_out.fetch_add(1, Relaxed);
        }
    }
}

async fn serve_redis(mut stream: TcpStream, peer: SocketAddr, door: Arc<resp::RedisDoor>, max: u64) {
    if door.connected() < max {
        // Not stopped by a drain: published events must still reach the remaining clients.
        resp::serve(stream, peer, &door, std::future::pending()).await;
    } else {
        door.warn_full(max);
        let _ = stream.write_all(resp::MAX_CLIENTS).await; // the client is refused in any case
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn many_connections_at_once_are_accepted_in_several_passes() -> io::Result<()> {
        let mut listener = PacedListener {
            listener: TcpListener::bind("127.0.0.1:0").await?,
            accepted: 0,
        };
        let address = listener.listener.local_addr()?;
        let clients: Result<Vec<_>, _> = (0..3 * ACCEPTS_PER_PASS)
            .map(|_| std::net::TcpStream::connect(address))
            .collect();
        let passes = Rc::new(Cell::new(0));
        let counted = passes.clone();
        let accepted = async {
            let mut first = None;
            for _ in 0..clients?.len() {
                listener.accept().await?;
                first.get_or_insert(passes.get());
            }
            assert!(first.is_some_and(|first| passes.get() >= first + 2));
            Ok(())
        };
        let local = LocalSet::new();
        local.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        local.run_until(accepted).await
    }
}
