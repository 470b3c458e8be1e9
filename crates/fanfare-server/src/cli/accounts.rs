//! Access to the configured database for the commands about users, keys and backups, even while a server runs.

use std::time::{Duration, UNIX_EPOCH};

use fanfare_accounts::{AccountError, Accounts, storage::Storage};

use super::{CommandFailure, Global, block_on, usage};
use crate::{config::Config, serve};

pub(super) fn with_storage<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Storage) -> Result<T, CommandFailure>,
) -> Result<T, CommandFailure> {
    block_on(async {
        let storage = Storage::new(&config.storage.url, 1).map_err(|error| failed(&error.into()))?;
        let done = work(&storage).await;
        storage.close().await;
        done
    })
}

/// Runs work on the configured accounts. The commands sign no tokens, so they need no secret.
pub(super) fn with_accounts<T>(
    global: &Global,
    work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountError>,
) -> Result<T, CommandFailure> {
    let config = global.config()?;
    with_storage(&config, async |storage| {
        let accounts = Accounts::new(storage.clone(), serve::accounts_options(&config, None));
        match work(&accounts).await {
            Ok(done) => Ok(done),
            Err(AccountError::Storage(error)) => {
                Err(serve::explained_storage_error(&error, &config.storage.url)
                    .await
                    .into())
            }
            Err(error) => Err(failed(&error)),
        }
    })
}

fn failed(error: &AccountError) -> CommandFailure {
    match error {
        AccountError::Bad { .. } => usage(error.to_string()),
        _ => error.to_string().into(),
    }
}

/// Formats a time of the database; none is a dash.
pub(super) fn moment(millis: Option<i64>) -> String {
    const END_OF_YEAR_9999: u64 = 253_402_300_799_999;
    let since = millis.and_then(|millis| u64::try_from(millis).ok());
    match since.filter(|since| *since <= END_OF_YEAR_9999) {
        Some(since) => fanfare_core::timestamp(UNIX_EPOCH + Duration::from_millis(since)).to_string(),
        None => "-".to_owned(),
    }
}
