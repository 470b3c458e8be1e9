//! `fanfare listen`: a client for experiments and scripts.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::{ArgGroup, Args};
use fanfare_core::{ListenMessage, Listening, Subscription};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};
use tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::{
    CommandFailure, Global, Outcome, Profile, block_on,
    destination::{self, Destination},
    listen_since::StreamRequest,
    output::shown,
    remote::RemoteApi,
    token, usage,
};
use crate::config::Loaded;

/// The user of a listener that names none.
const DEFAULT_USER: &str = "fanfare-listen";
/// The time to wait for a server's confirmation, which takes milliseconds.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

type ClientSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["user", "token", "channel"])))]
pub(super) struct Listen {
    /// Receive the events for this user and for everyone
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Receive the events on this channel, or on the channels that a pattern matches; may be repeated
    #[arg(long, value_name = "NAME", num_args = 1..)]
    channel: Vec<String>,
    /// A token, if the server's secret is not configured here [default: made as `fanfare token` does]
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true, value_parser = super::secret)]
    token: Option<String>,
    /// The server's URL [default: that of the first suitable listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The dialect to use [default: the first suitable one]
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Begin with the events after this cursor, or with the newest ones: a number (20) or an age (5m)
    #[arg(long, value_name = "CURSOR|AGE|NUMBER", conflicts_with = "dialect")]
    since: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Listen {
    pub(super) fn run(&self, global: &Global) -> Outcome {
        for name in &self.channel {
            Subscription::parse(name).map_err(|error| usage(format!("--channel {name:?}: {error}")))?;
        }
        let loaded = global.load(&Profile::default())?;
        let token = self.token(&loaded)?;
        let count = self.count.unwrap_or(u64::MAX);
        let own = self.user.is_some() || self.channel.is_empty();
        if let Some(since) = &self.since {
            let request = StreamRequest {
                since,
                channels: &self.channel,
                own,
            };
            let keys = token.as_deref().into_iter().collect();
            let api = RemoteApi::new(&loaded.config, self.url.as_deref(), keys)?;
            return block_on(request.listen(&api, count));
        }
        let wanted = Listening {
            token: token.as_deref(),
            own,
            channels: &self.channel,
        };
        let (url, dialect) = (self.url.as_deref(), self.dialect.as_deref());
        let destination = destination::find(&loaded.config, url, dialect, &wanted)?;
        block_on(listen(destination, count))
    }

    /// Returns the token to use. Channels may be public, so if only channels are requested, no secret is generated.
    fn token(&self, loaded: &Loaded) -> Result<Option<String>, CommandFailure> {
        let user = match (&self.token, &self.user) {
            (Some(token), _) => return Ok(Some(token.clone())),
            (None, Some(user)) => user,
            (None, None) if token::has_secret(&loaded.config) => DEFAULT_USER,
            (None, None) => return Ok(None),
        };
        token::mint(loaded, user, None, &Map::new()).map(Some)
    }
}

async fn listen(to: Destination, count: u64) -> Outcome {
    let connected = connect_async(to.url).await;
    let (mut socket, _) = connected.map_err(|error| explain(&error))?;
    for frame in to.plan.frames {
        let sent = socket.send(Message::text(frame)).await;
        sent.map_err(|error| explain(&error))?;
    }
    let listener = ListeningClient {
        dialect: to.dialect,
        classify: to.plan.classify,
        unconfirmed: to.plan.confirmations,
        left: count,
    };
    listener.run(&mut socket).await?;
    let _ = socket.close(None).await; // the command ends anyway
    Ok(())
}

struct ListeningClient {
    dialect: &'static str,
    classify: fn(&str) -> ListenMessage,
    /// The confirmations that the server has yet to send.
    unconfirmed: usize,
    left: u64,
}

impl ListeningClient {
    async fn run(mut self, socket: &mut ClientSocket) -> Outcome {
        let deadline = Instant::now() + CONFIRMATION_TIMEOUT;
        self.report_when_ready();
        while self.left > 0 {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = tokio::signal::ctrl_c() => return Ok(()),
                () = sleep_until(deadline), if self.unconfirmed > 0 => {
                    let text = "the server does not answer in the dialect";
                    return Err(format!("{text} {}; choose another with --dialect", self.dialect).into());
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => self.receive(&text)?,
                Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Normal => return Ok(()),
                Some(Ok(Message::Close(Some(close)))) => {
                    let (code, reason) = (close.code, shown(&close.reason));
                    return Err(format!("the server closed the connection: {code} {reason}").into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(explain(&error).into()),
                None => return Err("the server closed the connection".into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, text: &str) -> Outcome {
        match (self.classify)(text) {
            ListenMessage::Event => {
                self.left -= 1;
                if print(text).is_err() {
                    self.left = 0; // the reader of the output is gone
                }
            }
            ListenMessage::Confirmed if self.unconfirmed > 0 => {
                self.unconfirmed -= 1;
                self.report_when_ready();
            }
            ListenMessage::Refused(words) => {
                return Err(format!("the server refused: {}", shown(&words)).into());
            }
            ListenMessage::Confirmed | ListenMessage::Other => {}
        }
        Ok(())
    }

    fn report_when_ready(&self) {
        if self.unconfirmed == 0 {
            eprintln!("listening; stop with Ctrl-C");
        }
    }
}

/// Prints an event on one line. In JSON, a line break can only stand between tokens, where a space is equivalent.
fn print(event: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", event.replace(['\n', '\r'], " "))?;
    out.flush()
}

/// Returns the reason without the URL, which contains the token.
fn explain(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(answer) => {
            let bytes = answer.body().as_deref().unwrap_or_default();
            let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let error = &body["error"];
            let reason = error["message"].as_str().or_else(|| error.as_str());
            let reason = reason
                .map(|reason| format!(": {}", shown(reason)))
                .unwrap_or_default();
            format!("the server answered {}{reason}", answer.status())
        }
        tungstenite::Error::Io(error) => format!("cannot reach the server: {error}"),
        tungstenite::Error::Url(_) => "cannot connect to that address".into(),
        other => other.to_string(),
    }
}
