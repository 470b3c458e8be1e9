//! The running server's address, and requests to its service API.

use std::time::Duration;

use clap::Args;
use form_urlencoded::Serializer;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::{CommandFailure, usage};
use crate::{
    causes::Causes,
    config::{Config, Listener, Secret},
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The time without a byte after which a stream counts as lost. The server writes more often.
const STREAM_SILENCE: Duration = Duration::from_secs(45);

/// The server whose service API a command calls, and its key.
#[derive(Args)]
pub(super) struct RemoteServer {
    /// The server's URL [default: that of the first listener of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// An API key of that server [default: the first of api.keys; on this machine, the first that the server knows]
    #[arg(long, value_name = "KEY", env = "FANFARE_API_KEY", hide_env_values = true, value_parser = super::secret)]
    key: Option<String>,
}

pub(super) struct RemoteApi<'a> {
    client: Client,
    base: String,
    /// Each is tried in turn until the server accepts one.
    keys: Vec<&'a str>,
}

impl RemoteServer {
    pub(super) fn api<'a>(&'a self, config: &'a Config) -> Result<RemoteApi<'a>, CommandFailure> {
        let configured = config.api.keys.iter().map(Secret::expose);
        let keys = match (&self.key, &self.url) {
            (Some(key), _) => vec![key.as_str()],
            // A server with another URL may belong to a third party, so it receives only one of the keys.
            (None, Some(_)) => configured.take(1).collect(),
            // The running server may not have loaded all of them yet.
            (None, None) => configured.collect(),
        };
        RemoteApi::new(config, self.url.as_deref(), keys)
    }

    /// Returns whether the arguments name the server and the key, so that no configuration is needed.
    pub(super) fn is_complete(&self) -> bool {
        self.url.is_some() && self.key.is_some()
    }
}

/// Returns `path` with a query of the parameters that have a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("{path}?{}", query.finish())
}

/// Returns the listeners that this machine can reach without TLS.
pub(super) fn reachable(config: &Config) -> impl Iterator<Item = &Listener> {
    let listeners = config.listener.iter();
    listeners.filter(|listener| !listener.has_tls() && listener.bind.port() != 0)
}

/// Returns the failure if no listener is reachable.
pub(super) fn unreachable() -> CommandFailure {
    usage("no listener with a fixed port and without TLS is configured: name the server with --url")
}

/// Returns the address of a listener for this machine: `HOST:PORT/PREFIX`.
pub(super) fn address(listener: &Listener) -> String {
    let address = listener.bind.from_this_machine();
    format!("{address}{}", listener.prefix.trim_end_matches('/'))
}

impl<'a> RemoteApi<'a> {
    /// Returns the service API of the server at `url`, or else of the one on this machine.
    pub(super) fn new(
        config: &Config,
        url: Option<&str>,
        keys: Vec<&'a str>,
    ) -> Result<Self, CommandFailure> {
        let base = if let Some(url) = url {
            url.trim_end_matches('/').to_owned()
        } else {
            let listener = reachable(config).next().ok_or_else(unreachable)?;
            format!("http://{}", address(listener))
        };
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(usage("--url: expected http://HOST[:PORT] or https://HOST[:PORT]"));
        }
        let client = builder(&base).timeout(TIMEOUT).build().map_err(failed)?;
        Ok(Self { client, base, keys })
    }

    /// Sends a JSON body to `path`, and returns the body of the answer.
    pub(super) async fn post(&self, path: &str, body: String) -> Result<String, CommandFailure> {
        let request = self.client.post(self.url(path));
        let request = request.header("content-type", "application/json").body(body);
        self.sent(request).await?.text().await.map_err(failed)
    }

    pub(super) async fn get(&self, path: &str) -> Result<String, CommandFailure> {
        let answer = self.sent(self.client.get(self.url(path))).await?;
        answer.text().await.map_err(failed)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), CommandFailure> {
        self.sent(self.client.delete(self.url(path))).await.map(drop)
    }

    /// Begins a `GET` whose answer may never end; `accept` is its media type, if there are several.
    pub(super) async fn open(&self, path: &str, accept: Option<&str>) -> Result<Response, CommandFailure> {
        let client = builder(&self.base)
            .connect_timeout(TIMEOUT)
            .read_timeout(STREAM_SILENCE);
        let mut request = client.build().map_err(failed)?.get(self.url(path));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        self.sent(request).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends `request` with each key in turn until the server accepts one; without a key if there is none. Returns an
    /// answer only if it is a success.
    async fn sent(&self, request: RequestBuilder) -> Result<Response, CommandFailure> {
        let mut keys = self.keys.iter();
        loop {
            // None of the bodies is a stream, which could be sent once only.
            let mut request = request.try_clone().ok_or("the request cannot be repeated")?;
            if let Some(key) = keys.next() {
                request = request.bearer_auth(key);
            }
            let answer = request.send().await.map_err(failed)?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            if answer.status() != StatusCode::UNAUTHORIZED || keys.len() == 0 {
                return Err(refusal(answer).await?);
            }
        }
    }
}

/// Returns the builder of a client for requests to `url`. A container may have no certificates of authorities, and needs none
/// on its own machine.
fn builder(url: &str) -> ClientBuilder {
    let builder = Client::builder();
    if url.starts_with("http://") {
        return builder.tls_certs_only([]);
    }
    builder
}

fn failed(error: reqwest::Error) -> CommandFailure {
    let error = error.without_url(); // it may hold a password
    format!("cannot reach the server: {}", Causes(&error)).into()
}

/// Returns the failure that an answer reports.
async fn refusal(answer: Response) -> Result<CommandFailure, CommandFailure> {
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let problems = body["error"]["details"]["problems"].as_array();
    let problems = problems.into_iter().flatten().filter_map(Value::as_str);
    let reasons = [&body["error"]["message"], &body["error"], &body["reason"]];
    let reason = reasons
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("no reason given");
    let hint = match status.as_u16() {
        401 => " (--key or FANFARE_API_KEY names one)",
        _ => "",
    };
    let message = problems.fold(
        format!("the server answered {status}: {reason}{hint}"),
        |message, problem| format!("{message}\nerror: {problem}"),
    );
    Ok(match status.as_u16() {
        422 => usage(message),
        _ => message.into(),
    })
}
