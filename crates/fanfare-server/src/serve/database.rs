//! Why a database cannot be reached: what its pool of connections does not know.

use std::time::Duration;

use fanfare_accounts::storage::{StorageError, StorageUrl};
use reqwest::Url;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

const WAIT: Duration = Duration::from_secs(2);
const POSTGRES_PORT: u16 = 5432;

/// An error of the database at `url`, with the place and, where nothing answers there, the cause. Without a password.
pub async fn explained(error: &StorageError, url: &StorageUrl) -> String {
    let cause = if error.is_outage() { cause(url).await } else { None };
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("{url}: {error}{cause}")
}

/// What a connection to the server's address ends with; `None` if it is accepted, or the database is a file.
async fn cause(url: &StorageUrl) -> Option<String> {
    let StorageUrl::Postgres(url) = url else {
        return None;
    };
    let url = Url::parse(url.expose()).ok()?;
    let parameter = |wanted: &str| {
        url.query_pairs()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let host = parameter("host").or_else(|| url.host_str().map(str::to_owned))?;
    let port = parameter("port").and_then(|port| port.parse().ok());
    let port = port.or(url.port()).unwrap_or(POSTGRES_PORT);
    let connecting = async {
        if host.starts_with('/') {
            UnixStream::connect(format!("{host}/.s.PGSQL.{port}"))
                .await
                .map(drop)
        } else {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            TcpStream::connect((host, port)).await.map(drop)
        }
    };
    match timeout(WAIT, connecting).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", WAIT.as_secs())),
    }
}
