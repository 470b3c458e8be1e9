//! `fanfare listen`: a client for trying things out and for scripts.

use clap::Args;
use futures_util::StreamExt;
use tokio_tungstenite::{connect_async, tungstenite};
use tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::{Failure, Global, Outcome, block_on, remote, token};

/// Connect as a user and print each event as a line of JSON.
#[derive(Args)]
pub(super) struct Listen {
    /// The user to be
    #[arg(long, value_name = "ID", required_unless_present = "token")]
    user: Option<String>,
    /// A token, where the server's secret is not at hand [default: made as `fanfare token` does]
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The server [default: the first listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Listen {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        let loaded = global.load(None)?;
        let token = match (&self.token, &self.user) {
            (Some(token), _) => token.clone(),
            (None, user) => token::mint(
                &loaded,
                user.as_deref().unwrap_or_default(),
                None,
                &serde_json::Map::new(),
            )?,
        };
        let url = remote::socket(&loaded.config, self.url.as_deref(), &token)?;
        block_on(listen(url, self.count))
    }
}

#[allow(clippy::print_stdout, reason = "the events are what the command is for")]
async fn listen(url: String, count: Option<u64>) -> Outcome {
    let (mut socket, _) = connect_async(url)
        .await
        .map_err(|error| Failure::Runtime(explain(&error)))?;
    eprintln!("listening; stop with Ctrl-C");
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = tokio::signal::ctrl_c() => break,
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                println!("{text}");
                left -= 1;
            }
            Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Normal => break,
            Some(Ok(Message::Close(Some(close)))) => {
                return Err(Failure::Runtime(format!(
                    "the server closed the connection: {} {}",
                    close.code, close.reason
                )));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Failure::Runtime(explain(&error))),
            None => return Err(Failure::Runtime("the server closed the connection".into())),
        }
    }
    let _ = socket.close(None).await; // we are leaving anyway
    Ok(())
}

/// The reason without the URL, which holds the token.
fn explain(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(answer) => {
            let body = answer
                .body()
                .as_deref()
                .and_then(|body| std::str::from_utf8(body).ok())
                .unwrap_or_default();
            format!("the server answered {} {body}", answer.status())
        }
        tungstenite::Error::Io(error) => format!("cannot reach the server: {error}"),
        other => other.to_string(),
    }
}
