//! A way to a server that can be cut.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Passes connections on to a server, until it is cut.
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
            let mut ways = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *is_open.borrow() {
                    ways.spawn(pass(client, server.clone(), is_open.subscribe()));
                }
            }
        });
        Self {
            address,
            open,
            _tasks: tasks,
        }
    }

    /// The URL of a server with `url`, by this way.
    pub(crate) fn url_to(&self, url: &str) -> String {
        format!("{}://{}", url.split(':').next().unwrap_or_default(), self.address)
    }

    /// Cuts all connections, and lets none through from now on; or lets them through again.
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
