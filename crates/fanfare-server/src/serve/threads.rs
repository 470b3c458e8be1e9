//! The shards' threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
};

use fanfare_engine::{Node, Pace, Shard, ShardCommands};
use tokio::{sync::watch, task::LocalSet};

use super::doors::OpenDoor;
use crate::http::{self, Door};

/// HTTP connections polled in one pass. A request takes some tens of microseconds, a handshake with a token up to a hundred, so a pass
/// takes less than a millisecond.
const REQUESTS_PER_PASS: usize = 8;

pub(super) struct Threads {
    stop: watch::Sender<bool>,
    handles: Vec<JoinHandle<()>>,
}

type Socket = (std::net::TcpListener, Door);

/// Starts one thread for each of `commands`, with its socket of each door.
pub(super) fn start(
    node: &Arc<Node>,
    commands: Vec<ShardCommands>,
    doors: Vec<OpenDoor>,
) -> Result<Threads, String> {
    let (stop, stopped) = watch::channel(false);
    let failed = |error: std::io::Error| format!("cannot start a thread: {error}");
    let mut sockets: Vec<Vec<Socket>> = commands.iter().map(|_| Vec::new()).collect();
    for open in doors {
        for (of_shard, socket) in sockets.iter_mut().zip(open.sockets) {
            of_shard.push((socket, open.door.clone()));
        }
    }
    let mut handles = Vec::new();
    for (number, (commands, sockets)) in commands.into_iter().zip(sockets).enumerate() {
        let (node, stopped) = (node.clone(), stopped.clone());
        let thread = std::thread::Builder::new().name(format!("fanfare-{number}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let work = move || {
            let serving = serve(number, node, commands, sockets, stopped);
            let served = catch_unwind(AssertUnwindSafe(|| LocalSet::new().block_on(&runtime, serving)));
            if served.is_err() {
                // A restart is better than a server that lacks a shard.
                tracing::error!(
                    shard = number,
                    "a shard ended by a fault; the process ends with it"
                );
                std::process::exit(1);
            }
        };
        handles.push(thread.spawn(work).map_err(failed)?);
    }
    Ok(Threads { stop, handles })
}

async fn serve(
    number: usize,
    node: Arc<Node>,
    commands: ShardCommands,
    sockets: Vec<Socket>,
    mut stopped: watch::Receiver<bool>,
) {
    let shard: Rc<Shard> = Shard::new(number, node);
    let pace = Pace::new(REQUESTS_PER_PASS);
    tokio::task::spawn_local(pace.clone().run());
    for (socket, door) in sockets {
        let accepting = http::serve(socket, door, shard.clone(), pace.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = accepting.await {
                tracing::error!(%error, "cannot accept connections");
            }
        });
    }
    tokio::select! {
        () = shard.run(commands) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

impl Threads {
    pub(super) fn stop(self) {
        self.stop.send_replace(true);
        for handle in self.handles {
            if handle.join().is_err() {
                tracing::error!("a thread ended by a fault");
            }
        }
    }
}
