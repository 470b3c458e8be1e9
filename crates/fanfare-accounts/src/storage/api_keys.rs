//! The table of API keys, which has only their hashes.

use std::fmt;

use sqlx::{Row, any::AnyRow};

use super::{Result, Storage, list_of, statement, text_of};

/// The record of a key, without its text. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// A UUID.
    pub id: String,
    /// The name that its creator chose.
    pub name: String,
    /// The SHA-256 of the key, in hexadecimal.
    pub hash: String,
    /// The names of its scopes.
    pub scopes: Vec<String>,
    /// The time of its creation.
    pub created_at: i64,
    /// The time of its revocation.
    pub revoked_at: Option<i64>,
    /// The time of its last use, to the minute.
    pub last_used_at: Option<i64>,
}

/// The hash stays out of logs.
impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredKey").field(&self.id).finish()
    }
}

impl Storage {
    /// Stores a key; fails with `Conflict` if there is one with this hash.
    pub(crate) async fn insert_key(&self, key: &StoredKey) -> Result<()> {
        let insert = "INSERT INTO api_keys (id, name, hash, scopes, created_at) VALUES ($1, $2, $3, $4, $5)";
        let query = statement(insert)
            .bind(key.id.clone())
            .bind(key.name.clone())
            .bind(key.hash.clone())
            .bind(text_of(&key.scopes))
            .bind(key.created_at);
        self.change(query).await.map(drop)
    }

    /// Returns all keys in the order of creation, revoked ones included.
    pub(crate) async fn keys(&self) -> Result<Vec<StoredKey>> {
        let select =
            "SELECT id, name, hash, scopes, created_at, revoked_at, last_used_at FROM api_keys ORDER BY id";
        self.all(statement(select), read).await
    }

    /// Revokes a key. Returns `false` if there is none or it is already revoked.
    pub(crate) async fn revoke_key(&self, id: &str, now: i64) -> Result<bool> {
        let query = statement("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_owned())
            .bind(now);
        Ok(self.change(query).await? > 0)
    }

    /// Records that a key was used at `at`, unless a later use is recorded.
    pub(crate) async fn key_used(&self, id: &str, at: i64) -> Result<()> {
        let update = "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        self.change(statement(update).bind(id.to_owned()).bind(at))
            .await
            .map(drop)
    }
}

fn read(row: &AnyRow) -> sqlx::Result<StoredKey> {
    Ok(StoredKey {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        hash: row.try_get("hash")?,
        scopes: list_of(row, "scopes")?,
        created_at: row.try_get("created_at")?,
        revoked_at: row.try_get("revoked_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}
