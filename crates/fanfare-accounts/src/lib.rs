//! Accounts: users, their sessions, the messages they write, and API keys, in SQLite or PostgreSQL.
//!
//! A server calls [`Accounts`]. Each method is one request of a client, a backend or the command line, and each refusal
//! is a variant of [`AccountError`]. The checks of every token and every request ([`Revocations::is_refused`],
//! [`Accounts::api_key`]) read memory, which [`Accounts::spawn_watch`] keeps up to date. [`storage`] stores the rows and
//! applies no rules; [`mint`] signs access tokens.
//!
//! This crate contains no HTTP, no client protocol, no connection and no configuration file: a server fills
//! [`AccountsOptions`] and renders each [`AccountError`]. The only tokens that it verifies are refresh and reset tokens.
//!
//! # Examples
//!
//! A user registers, and logs in again:
//!
//! ```
//! use fanfare_accounts::{Accounts, AccountsOptions, Signing, storage::Storage};
//!
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("accounts.db");
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let storage = Storage::new(&format!("sqlite://{}", file.display()).parse()?, 4)?;
//! let options = AccountsOptions {
//!     signing: Some(Signing {
//!         secret: b"a secret of 32 bytes or more, please".to_vec(),
//!         issuer: None,
//!         audience: None,
//!     }),
//!     ..AccountsOptions::default()
//! };
//! let accounts = Accounts::new(storage, options);
//!
//! let (email, password) = ("alice@example.com", "correct horse battery");
//! let registered = accounts.register(email, password, Some("Alice"), None, None).await?;
//! let login = accounts.login(email, password, None, None).await?;
//! assert_eq!(login.user.id, registered.user.id);
//! assert_eq!(login.expires_in, 3600);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api_keys;
mod change;
mod counts;
mod email;
mod error;
mod messages;
pub mod mint;
mod name;
mod options;
mod password;
mod revocations;
mod secrets;
mod sessions;
pub mod storage;
mod throttle;
mod users;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwapOption;
use password::Passwords;
use storage::{Storage, millis};
use throttle::Throttle;

pub use api_keys::{ApiKey, KeyNeed, Scope};
pub use change::{PasswordChange, ResetToken};
pub use counts::LoginCounts;
pub use email::normalise_email;
pub use error::AccountError;
pub use messages::{MessagePage, NewMessage, ReadAccess, known_access};
pub use options::{AccountsOptions, Clock, Signing};
pub use password::{MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES};
pub use revocations::{Revocation, RevocationFeed, Revocations};
pub use secrets::random_password;
pub use sessions::Login;
pub use users::DEFAULT_ROLE;

/// The accounts of this server. Clones share one state; calls may come from any thread.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Storage,
    options: AccountsOptions,
    /// The current signing secret and claims.
    signing: ArcSwapOption<Signing>,
    passwords: Passwords,
    logins: LoginCounts,
    registrations: LoginCounts,
    refreshes: LoginCounts,
    throttle: Throttle,
    revocations: Revocations,
    keys: api_keys::KnownKeys,
    /// The time up to which the database's revocations were read, in milliseconds since 1970; 0 is never.
    seen_until: AtomicI64,
}

impl Accounts {
    /// Returns the accounts in `storage`.
    pub fn new(storage: Storage, options: AccountsOptions) -> Self {
        let (threads, queue) = (options.password_threads, options.password_queue);
        Self {
            inner: Arc::new(Inner {
                passwords: Passwords::new(options.hashing.clone(), threads, queue),
                logins: LoginCounts::default(),
                registrations: LoginCounts::default(),
                refreshes: LoginCounts::default(),
                throttle: Throttle::new(&options),
                revocations: Revocations::default(),
                keys: api_keys::KnownKeys::default(),
                seen_until: AtomicI64::new(0),
                signing: ArcSwapOption::from(options.signing.clone().map(Arc::new)),
                storage,
                options,
            }),
        }
    }

    /// Returns the revocations.
    pub fn revocations(&self) -> &Revocations {
        &self.inner.revocations
    }

    /// Returns whether this server issues tokens. If not, no user can log in.
    pub fn issues_tokens(&self) -> bool {
        self.inner.signing.load().is_some()
    }

    /// Applies the signing of tokens and the limits of attempts and registrations from these options. The other options
    /// stay unchanged.
    pub fn replace_options(&self, options: AccountsOptions) {
        self.inner.throttle.replace_limits(&options);
        self.inner.signing.store(options.signing.map(Arc::new));
    }

    /// Returns the results of logins.
    pub fn logins(&self) -> &LoginCounts {
        &self.inner.logins
    }

    /// Returns the results of registrations.
    pub fn registrations(&self) -> &LoginCounts {
        &self.inner.registrations
    }

    /// Returns the results of refreshes.
    pub fn refreshes(&self) -> &LoginCounts {
        &self.inner.refreshes
    }

    /// Returns the storage.
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    /// Returns the current time, in milliseconds since 1970.
    fn now(&self) -> i64 {
        millis((self.inner.options.clock)())
    }
}
