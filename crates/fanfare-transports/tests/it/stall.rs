//! A proxy to a server that can hang: no byte passes, and no byte is lost.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards bytes unless it is paused.
pub(crate) struct Stall {
    address: String,
    paused: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Stall {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let paused = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let is_paused = paused.subscribe();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let (client, server) = (split(client), split(server));
                connections.spawn(pass(client.0, server.1, is_paused.clone()));
                connections.spawn(pass(server.0, client.1, is_paused.clone()));
            }
        });
        Self {
            address,
            paused,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
    }
}

async fn pass(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    mut paused: watch::Receiver<bool>,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let is_open = paused.wait_for(|paused| !paused).await.is_ok();
        if !is_open || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
