//! API keys: created once, shown once, and looked up in memory.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::storage::{StorageError, StoredKey, new_id};
use crate::{AccountError, Accounts, secrets};

const MAX_NAME_BYTES: usize = 200;

/// The permitted use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Publishing events.
    Publish,
    /// Reading presence and figures.
    Read,
    /// All operations.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Read, Self::Admin];

    /// Returns the scope's name in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == text);
        known.ok_or("expected publish, read or admin")
    }
}

/// A valid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// A UUID.
    pub id: String,
    /// The name that its creator chose.
    pub name: String,
    scopes: Vec<Scope>,
}

impl ApiKey {
    /// Returns the name of the session of its connections, which ends when the key is revoked.
    pub fn session(&self) -> String {
        format!("api-key:{}", self.id)
    }

    /// Returns whether the key has the scope `wanted`, or all scopes.
    pub fn allows(&self, wanted: Scope) -> bool {
        self.scopes.contains(&wanted) || self.scopes.contains(&Scope::Admin)
    }
}

/// The need of callers for a key, according to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNeed {
    /// The database has not been read yet.
    Unknown,
    /// No key was ever created, so callers need none.
    No,
    /// A key was created, so callers need one, even after its revocation.
    Yes,
}

/// The precision of a key's last use in the database, in milliseconds.
const USE_PRECISION: i64 = 60_000;

struct KnownKey {
    key: Arc<ApiKey>,
    /// The last use on this node; 0 for none.
    used_at: AtomicI64,
    /// The last use in the database; 0 for none.
    written_at: i64,
}

impl KnownKey {
    fn unwritten_use(&self) -> Option<i64> {
        let used_at = self.used_at.load(Ordering::Relaxed);
        (used_at >= self.written_at.saturating_add(USE_PRECISION)).then_some(used_at)
    }
}

/// The valid keys, by their hashes.
#[derive(Default)]
pub(crate) struct KnownKeys {
    valid_keys: RwLock<HashMap<String, KnownKey>>,
    /// 0 for [`KeyNeed::Unknown`], 1 for `No`, 2 for `Yes`. Not behind the lock, because every command reads it.
    need: AtomicU8,
}

impl KnownKeys {
    fn find(&self, offered: &str, now: i64) -> Option<Arc<ApiKey>> {
        if !offered.starts_with(secrets::KEY_PREFIX) {
            return None;
        }
        let hash = secrets::hash(offered);
        let known = self.valid_keys.read().unwrap_or_else(PoisonError::into_inner);
        let (stored, found) = known.get_key_value(&hash)?;
        verify_slices_are_equal(stored.as_bytes(), hash.as_bytes()).ok()?;
        found.used_at.fetch_max(now, Ordering::Relaxed);
        Some(found.key.clone())
    }

    /// Returns the ids of keys whose last use is not in the database yet, with its time.
    fn unwritten_uses(&self) -> Vec<(String, i64)> {
        let known = self.valid_keys.read().unwrap_or_else(PoisonError::into_inner);
        let uses = known.values();
        uses.filter_map(|known| Some((known.key.id.clone(), known.unwritten_use()?)))
            .collect()
    }

    fn need(&self) -> KeyNeed {
        match self.need.load(Ordering::Acquire) {
            0 => KeyNeed::Unknown,
            1 => KeyNeed::No,
            _ => KeyNeed::Yes,
        }
    }

    /// Replaces the known keys by those in the database; returns those that were revoked meanwhile. A key that is
    /// missing in `stored` is not revoked, because it may be newer than the read.
    pub(crate) fn replace(&self, stored: Vec<StoredKey>) -> Vec<Arc<ApiKey>> {
        let need = if stored.is_empty() { 1 } else { 2 };
        let mut valid_keys = self.valid_keys.write().unwrap_or_else(PoisonError::into_inner);
        let (valid, revoked): (Vec<_>, Vec<_>) = stored.into_iter().partition(|key| key.revoked_at.is_none());
        let known = valid.into_iter().map(|key| {
            let known = valid_keys.get(&key.hash);
            let seen = known.map_or(0, |known| known.used_at.load(Ordering::Relaxed));
            let valid = ApiKey {
                id: key.id,
                name: key.name,
                scopes: key.scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
            };
            let known = KnownKey {
                used_at: seen.into(),
                written_at: key.last_used_at.unwrap_or_default(),
                key: Arc::new(valid),
            };
            (key.hash, known)
        });
        let known: HashMap<_, _> = known.collect();
        let mut before = std::mem::replace(&mut *valid_keys, known);
        let revoked_keys = revoked.iter().filter_map(|key| before.remove(&key.hash));
        let revoked_keys = revoked_keys.map(|known| known.key).collect();
        drop(valid_keys);
        // It must not become `No` again if an older read finishes last.
        self.need.fetch_max(need, Ordering::AcqRel);
        revoked_keys
    }
}

impl Accounts {
    /// Returns the key, if it is valid. Reads memory only: a key that another process creates or revokes takes effect
    /// within seconds.
    pub fn api_key(&self, offered: &str) -> Option<Arc<ApiKey>> {
        self.inner.keys.find(offered, self.now())
    }

    /// Returns whether callers need a key. Reads memory only; until the database has been read, it checks the file.
    pub fn key_need(&self) -> KeyNeed {
        match self.inner.keys.need() {
            // On a full disk, a new server can create the file and write nothing to it.
            KeyNeed::Unknown if self.inner.storage.is_blank() => KeyNeed::No,
            need => need,
        }
    }

    /// Creates a key, and returns its text, which is not stored.
    ///
    /// # Errors
    /// [`AccountError::Bad`] if the name is empty or too long or there is no scope; or the database.
    pub async fn create_key(
        &self,
        name: &str,
        scopes: &[Scope],
    ) -> Result<(String, StoredKey), AccountError> {
        let name = name.trim();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            let issue = "expected 1 to 200 bytes without control characters";
            return Err(AccountError::bad("name", issue));
        }
        if scopes.is_empty() {
            return Err(AccountError::bad("scopes", "required"));
        }
        let text = secrets::new_api_key();
        let key = StoredKey {
            id: new_id(),
            name: name.to_owned(),
            hash: secrets::hash(&text),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            created_at: self.now(),
            revoked_at: None,
            last_used_at: None,
        };
        self.inner.storage.insert_key(&key).await?;
        self.reload_keys().await?;
        Ok((text, key))
    }

    /// Returns all keys, revoked ones included.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn keys(&self) -> Result<Vec<StoredKey>, AccountError> {
        Ok(self.inner.storage.keys().await?)
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if there is no such valid key; or the database.
    pub async fn revoke_key(&self, id: &str) -> Result<(), AccountError> {
        let revoked = self.inner.storage.revoke_key(id, self.now()).await?;
        self.reload_keys().await?;
        revoked.then_some(()).ok_or(AccountError::NotFound("API key"))
    }

    /// Stores the last use of each key on this node, if the database does not have it to the minute.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn write_key_uses(&self) -> Result<(), StorageError> {
        for (id, at) in self.inner.keys.unwritten_uses() {
            self.inner.storage.key_used(&id, at).await?;
        }
        Ok(())
    }

    /// Reads the keys from the database again.
    pub(crate) async fn reload_keys(&self) -> Result<(), StorageError> {
        for revoked in self.inner.keys.replace(self.inner.storage.keys().await?) {
            self.session_ended(&revoked.session());
        }
        Ok(())
    }
}
