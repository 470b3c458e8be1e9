//! The accounts behind the server, and what happens to connections when one is revoked.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    accounts::{Accounts, AccountsOptions},
    config::Config,
    engine::Node,
    messages,
    storage::{Storage, StorageError},
};

/// The configured accounts. A database that is away holds up no start: it is waited for.
///
/// `secret` is what tokens are signed with, if there is one.
///
/// # Errors
/// When the database is newer than this build.
pub(super) async fn open(
    config: &Config,
    storage: Storage,
    secret: Option<Vec<u8>>,
) -> Result<Accounts, String> {
    let accounts = Accounts::new(storage, AccountsOptions::new(config, secret));
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
            %error,
            "the database cannot be used yet; accounts and messages wait for it, everything else works"
        ),
    }
    Ok(accounts)
}

/// Keeps what is revoked up to date, ends the connections that it concerns, and publishes messages that were left.
pub(super) fn follow(accounts: &Accounts, node: &Arc<Node>) -> [JoinHandle<()>; 3] {
    let catching_up = messages::spawn_catching_up(accounts, node);
    let (mut feed, node) = (accounts.revocations().feed(), node.clone());
    let ending = tokio::spawn(async move {
        // One that is behind is told so; that calls for the same look at all connections as any news does.
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
