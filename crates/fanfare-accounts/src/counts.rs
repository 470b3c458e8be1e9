//! The results of logins, registrations and refreshes, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::AccountError;

/// The numbers of logins, registrations or refreshes since the start, by result.
#[derive(Debug, Default)]
pub struct LoginCounts {
    succeeded: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
}

impl LoginCounts {
    pub(crate) fn add<T>(&self, ended: &Result<T, AccountError>) {
        let count = match ended {
            Ok(_) => &self.succeeded,
            Err(AccountError::TooManyAttempts { .. }) => &self.limited,
            Err(AccountError::Busy) => &self.busy,
            Err(AccountError::Storage(_)) => &self.failed,
            Err(_) => &self.refused,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Returns each count with its name.
    pub fn all(&self) -> [(&'static str, u64); 5] {
        [
            ("succeeded", &self.succeeded),
            ("refused", &self.refused),
            ("limited", &self.limited),
            ("busy", &self.busy),
            ("failed", &self.failed),
        ]
        .map(|(name, count)| (name, count.load(Relaxed)))
    }
}
