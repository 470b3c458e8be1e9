//! Opens the accounts, follows revocations, and explains why the database cannot be reached.

use std::{sync::Arc, time::Duration};

use fanfare_accounts::{
    Accounts, AccountsOptions, Signing,
    storage::{Storage, StorageError, StorageUrl},
};
use fanfare_engine::Node;
use reqwest::Url;
use tokio::{
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    auth::Algorithm,
    config::{Config, Registration},
    messages,
};

/// The time limit of the search for the cause of an outage.
const WAIT: Duration = Duration::from_secs(2);
const POSTGRES_PORT: u16 = 5432;

/// Returns the accounts' options; `secret` signs tokens, if there is one and the configuration accepts HS256.
pub fn options(config: &Config, secret: Option<Vec<u8>>) -> AccountsOptions {
    let auth = &config.auth;
    let accepts_ours = auth.algorithms.is_empty() || auth.algorithms.contains(&Algorithm::HS256);
    let signing = secret.filter(|_| accepts_ours).map(|secret| Signing {
        secret,
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
    });
    AccountsOptions {
        signing,
        access_ttl: auth.access_ttl,
        refresh_ttl: auth.refresh_ttl,
        leeway: auth.leeway,
        registration_is_open: auth.registration == Registration::Open,
        password_threads: auth.password_threads,
        password_queue: auth.password_queue,
        sessions_per_user: auth.max_sessions_per_user,
        attempts_per_account: auth.login_attempts_per_minute,
        attempts_per_address: auth.login_attempts_per_minute_per_ip,
        registrations_per_address: auth.registrations_per_minute_per_ip,
        ..AccountsOptions::default()
    }
}

/// Returns the configured accounts; `secret` signs tokens, if there is one. Fails if the database is newer than this build.
/// The start does not wait for a database that is unavailable.
pub(super) async fn open(
    config: &Config,
    storage: Storage,
    secret: Option<Vec<u8>>,
) -> Result<Accounts, String> {
    let accounts = Accounts::new(storage, options(config, secret));
    let prepared = match accounts.storage().prepare().await {
        Ok(()) => accounts.reload().await,
        Err(error) => Err(error),
    };
    match prepared {
        Ok(()) => {}
        Err(error @ (StorageError::Newer { .. } | StorageError::Location(_))) => {
            return Err(error.to_string());
        }
        Err(error) => tracing::warn!(
            error = explained(&error, &config.storage.url).await,
            "the database cannot be used yet; accounts and messages wait for it, everything else works"
        ),
    }
    Ok(accounts)
}

/// Starts the tasks that read revocations, end revoked connections, and publish unpublished messages.
pub(super) fn spawn_tasks(accounts: &Accounts, node: &Arc<Node>) -> [JoinHandle<()>; 3] {
    let catching_up = messages::spawn_catching_up(accounts, node);
    let (mut feed, node) = (accounts.revocations().feed(), node.clone());
    let ending = tokio::spawn(async move {
        // A receiver that lags must check all connections, which any revocation causes anyway.
        while !matches!(
            feed.recv().await,
            Err(tokio::sync::broadcast::error::RecvError::Closed)
        ) {
            while feed.try_recv().is_ok() {}
            node.end_revoked();
        }
    });
    [accounts.spawn_watch(), ending, catching_up]
}

/// Returns the text of an error of the database at `url`, with its address without a password. If nothing answers there, the
/// text has the cause.
pub async fn explained(error: &StorageError, url: &StorageUrl) -> String {
    let cause = if error.is_outage() { cause(url).await } else { None };
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("{url}: {error}{cause}")
}

/// Returns the reason why no connection to the server is possible, which the pool's error lacks; `None` if one is possible, or
/// the database is a file.
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
