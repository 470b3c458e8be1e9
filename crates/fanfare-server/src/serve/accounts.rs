//! The accounts of the server, and the end of connections whose credentials are revoked.

use std::sync::Arc;

use fanfare_accounts::{
    Accounts, AccountsOptions, Signing,
    storage::{Storage, StorageError},
};
use fanfare_engine::Node;
use tokio::task::JoinHandle;

use super::database;
use crate::{
    auth::Algorithm,
    config::{Config, Registration},
    messages,
};

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

/// Returns the configured accounts, unless the database is newer than this build; one that is unavailable does not hold
/// up the start. `secret` signs tokens, if there is one.
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
            error = database::explained(&error, &config.storage.url).await,
            "the database cannot be used yet; accounts and messages wait for it, everything else works"
        ),
    }
    Ok(accounts)
}

/// Keeps revocations up to date, ends the connections that they concern, and publishes unpublished messages.
pub(super) fn follow(accounts: &Accounts, node: &Arc<Node>) -> [JoinHandle<()>; 3] {
    let catching_up = messages::spawn_catching_up(accounts, node);
    let (mut feed, node) = (accounts.revocations().feed(), node.clone());
    let ending = tokio::spawn(async move {
        // A receiver that lags must check all connections, which any revocation causes anyway.
        while !matches!(
            feed.recv().await,
            Err(tokio::sync::broadcast::error::RecvError::Closed)
        ) {
            while feed.try_recv().is_ok() {}
            node.end_refused();
        }
    });
    [accounts.spawn_watch(), ending, catching_up]
}
