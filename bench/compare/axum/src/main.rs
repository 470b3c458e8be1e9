//! A broadcast server on axum, as most people would write it:  compare-axum PORT
//!
//! "/?id=00042" receives; on any connection "*text" goes to all who receive, and "@00042text" to one of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{
        Query, State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::{broadcast, mpsc};

struct Hub {
    all: broadcast::Sender<Utf8Bytes>,
    one: Mutex<HashMap<String, mpsc::UnboundedSender<Utf8Bytes>>>,
}

#[derive(Deserialize)]
struct Receiver {
    id: Option<String>,
}

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).expect("a port").parse().expect("a port");
    let hub = Arc::new(Hub {
        all: broadcast::channel(4096).0,
        one: Mutex::default(),
    });
    let app = Router::new().route("/", get(upgrade)).with_state(hub);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    axum::serve(listener, app).await.expect("serving");
}

async fn upgrade(upgrade: WebSocketUpgrade, Query(receiver): Query<Receiver>, State(hub): State<Arc<Hub>>) -> Response {
    upgrade.on_upgrade(move |socket| serve(socket, receiver.id, hub))
}

async fn serve(socket: WebSocket, id: Option<String>, hub: Arc<Hub>) {
    let (mut sender, mut receiver) = socket.split();
    let sending = id.clone().map(|id| {
        let mut all = hub.all.subscribe();
        let (to, mut own) = mpsc::unbounded_channel();
        hub.one.lock().unwrap().insert(id, to);
        tokio::spawn(async move {
            loop {
                let text = tokio::select! {
                    text = all.recv() => match text {
                        Ok(text) => text,
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => break,
                    },
                    Some(text) = own.recv() => text,
                };
                if sender.send(Message::Text(text)).await.is_err() {
                    break;
                }
            }
        })
    });
    while let Some(Ok(message)) = receiver.next().await {
        let Message::Text(text) = message else { continue };
        if let Some(text) = text.strip_prefix('*') {
            let _ = hub.all.send(text.into());
        } else if let (Some(to), Some(text)) = (text.get(1..6), text.get(6..)) {
            if let Some(to) = hub.one.lock().unwrap().get(to) {
                let _ = to.send(text.into());
            }
        }
    }
    if let Some(id) = id {
        hub.one.lock().unwrap().remove(&id);
    }
    if let Some(sending) = sending {
        sending.abort();
    }
}
