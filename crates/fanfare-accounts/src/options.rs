//! The settings of accounts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A clock: returns the current time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The secret and claims of access tokens. They must be those that this server's verifier accepts. There is no `Debug`,
/// so that the secret stays out of logs.
#[derive(Clone)]
pub struct Signing {
    /// The secret of HS256.
    pub secret: Vec<u8>,
    /// The claim `iss`.
    pub issuer: Option<String>,
    /// The claim `aud`.
    pub audience: Option<String>,
}

/// The settings of [`Accounts`](crate::Accounts).
#[derive(Clone)]
pub struct AccountsOptions {
    /// The signing of access tokens. Without it no user can log in or register; all other operations work.
    pub signing: Option<Signing>,
    /// The lifetime of access tokens.
    pub access_ttl: Duration,
    /// The lifetime of refresh tokens.
    pub refresh_ttl: Duration,
    /// The time for which a refresh token still works after its replacement.
    pub grace: Duration,
    /// The time after their expiry for which verifiers still accept tokens.
    pub leeway: Duration,
    /// Whether every client may register; otherwise only [`Accounts::create_user`](crate::Accounts::create_user)
    /// creates accounts.
    pub registration_is_open: bool,
    /// The number of threads that hash passwords; 0 is half of the cores.
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
    /// The time between two reads of the changes by other processes.
    pub watch_interval: Duration,
    /// The clock.
    pub clock: Clock,
    /// The cost of a password hash.
    pub hashing: argon2::Params,
}

/// The server's defaults, without signing.
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
            // OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
            hashing: argon2::Params::DEFAULT,
        }
    }
}
