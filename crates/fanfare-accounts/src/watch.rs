//! Keeps the revocations and API keys in memory up to date: reads the changes by other processes every few seconds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::storage::{StorageError, millis};
use crate::{Accounts, Revocation};

/// The largest difference between the clocks of nodes, and the longest transaction, in milliseconds.
const OVERLAP: i64 = 60_000;
/// The time between two deletions of expired sessions.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// The time for which expired sessions are kept, in milliseconds.
const KEEP_ENDED: i64 = 24 * 3600 * 1000;

impl Accounts {
    /// Reads the revocations and API keys. Call it at the start: until it has succeeded once, tokens of sessions that
    /// were ended before the start are accepted until they expire.
    ///
    /// # Errors
    /// If the database cannot be used, or is newer than this build.
    pub async fn reload(&self) -> Result<(), StorageError> {
        let inner = &self.inner;
        let now = self.now();
        let life = self.longest_token_life();
        let seen_until = inner.seen_until.load(Ordering::Relaxed);
        let ended_since = seen_until.max(now.saturating_sub(life)).saturating_sub(OVERLAP);
        for (id, ended_at) in inner.storage.ended_sessions(ended_since).await? {
            self.revoked(Revocation::Session(id.into()), ended_at);
        }
        let switched_since = seen_until.saturating_sub(OVERLAP);
        for (id, is_disabled) in inner.storage.switched_users(switched_since).await? {
            self.revoked(Revocation::of_user(id.into(), is_disabled), now);
        }
        self.reload_keys().await?;
        inner.revocations.forget(now);
        inner.seen_until.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Starts the task that reads changes and deletes expired sessions. It runs until it is aborted; the storage logs
    /// failures. Call it in a Tokio runtime.
    pub fn spawn_watch(&self) -> JoinHandle<()> {
        let accounts = self.clone();
        tokio::spawn(async move {
            let mut tidied: Option<tokio::time::Instant> = None;
            loop {
                // The storage logs their failures.
                let _ = accounts.write_key_uses().await;
                let _ = accounts.reload().await;
                if tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
                    let before = accounts.now().saturating_sub(KEEP_ENDED);
                    if accounts.inner.storage.forget_sessions(before).await.is_ok() {
                        tidied = Some(tokio::time::Instant::now());
                    }
                }
                tokio::time::sleep(accounts.inner.options.watch_interval).await;
            }
        })
    }

    /// Applies the end of a session on another node.
    pub fn session_ended(&self, id: &str) {
        self.revoked(Revocation::Session(id.into()), self.now());
    }

    /// Applies a revocation of the time `at`.
    pub(crate) fn revoked(&self, revocation: Revocation, at: i64) {
        let kept = self.longest_token_life().saturating_add(OVERLAP);
        self.inner.revocations.apply(revocation, at.saturating_add(kept));
    }

    /// Returns the longest time for which a verifier may accept a token after its session has ended, in milliseconds.
    fn longest_token_life(&self) -> i64 {
        let options = &self.inner.options;
        millis(std::time::UNIX_EPOCH + options.access_ttl + options.leeway)
    }
}
