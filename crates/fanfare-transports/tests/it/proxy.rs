//! A proxy to a server, whose connections can be cut.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards connections to a server while it is open.
pub(crate) struct Proxy {
    address: String,
    open: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(watch::Sender::new(true));
        let mut tasks = JoinSet::new();
        let is_open = open.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *is_open.borrow() {
                    connections.spawn(pass(client, server.clone(), is_open.subscribe()));
                }
            }
        });
        Self {
            address,
            open,
            _tasks: tasks,
        }
    }

    /// Returns `url` with the address of the proxy.
    pub(crate) fn url_to(&self, url: &str) -> String {
        format!("{}://{}", url.split(':').next().unwrap_or_default(), self.address)
    }

    /// If not `open`, cuts all connections and accepts no new ones; else accepts them again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn pass(mut client: TcpStream, server: String, mut open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
