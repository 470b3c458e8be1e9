//! What the accounts are set to.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What access tokens are signed with, and what this server's own verifier wants to see in them.
#[derive(Clone)]
pub struct Signing {
    /// The secret of HS256.
    pub secret: Vec<u8>,
    /// The claim `iss`.
    pub issuer: Option<String>,
    /// The claim `aud`.
    pub audience: Option<String>,
}

/// The secret stays out of logs.
impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

/// What [`Accounts`](crate::Accounts) are made from.
#[derive(Clone)]
pub struct AccountsOptions {
    /// Without it nobody can log in or register here, and everything else works.
    pub signing: Option<Signing>,
    /// How long access tokens live.
    pub access_ttl: Duration,
    /// How long refresh tokens live.
    pub refresh_ttl: Duration,
    /// How long a refresh token works after another took its place.
    pub grace: Duration,
    /// How much longer than they say tokens are accepted.
    pub leeway: Duration,
    /// Whether everybody may make an account, or [`Accounts::create_user`](crate::Accounts::create_user) alone does.
    pub registration_is_open: bool,
    /// Passwords hashed at the same time; 0 is half of the cores.
    pub password_threads: usize,
    /// Logins that may wait for each of these threads.
    pub password_queue: usize,
    /// The most sessions of one user.
    pub sessions_per_user: u32,
    /// Failed logins a minute for one account; 0 is no limit.
    pub attempts_per_account: u32,
    /// Failed logins a minute from one address; 0 is no limit.
    pub attempts_per_address: u32,
    /// Registrations a minute from one address; 0 is no limit.
    pub registrations_per_address: u32,
    /// How often the database is asked what other processes changed.
    pub watch_interval: Duration,
    /// Tells the time.
    pub clock: Clock,
    /// What a password hash costs.
    pub hashing: argon2::Params,
}

/// What the server does without further settings; no tokens are issued.
impl Default for AccountsOptions {
    fn default() -> Self {
        Self {
            signing: None,
            access_ttl: Duration::from_secs(3600),
            refresh_ttl: Duration::from_secs(30 * 24 * 3600),
            grace: Duration::from_secs(60),
            leeway: Duration::ZERO,
            registration_is_open: true,
            password_threads: 0,
            password_queue: 64,
            sessions_per_user: 100,
            attempts_per_account: 10,
            attempts_per_address: 60,
            registrations_per_address: 60,
            watch_interval: Duration::from_secs(2),
            clock: Arc::new(SystemTime::now),
            // What OWASP recommends for argon2id: 19 MiB, two passes, one lane.
            hashing: argon2::Params::DEFAULT,
        }
    }
}
