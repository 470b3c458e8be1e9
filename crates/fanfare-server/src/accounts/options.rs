//! What the accounts are set to.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Config, Registration};

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

/// What [`Accounts`](super::Accounts) are made from.
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
    /// Who may make an account.
    pub registration: Registration,
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

impl AccountsOptions {
    /// As configured; `secret` is what tokens are signed with, if there is one.
    ///
    /// Where the configuration does not accept HS256, tokens signed here would be refused here, so none is made.
    pub fn new(config: &Config, secret: Option<Vec<u8>>) -> Self {
        let auth = &config.auth;
        let accepts_ours =
            auth.algorithms.is_empty() || auth.algorithms.contains(&crate::config::Algorithm::HS256);
        let signing = secret.filter(|_| accepts_ours).map(|secret| Signing {
            secret,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
        });
        Self {
            signing,
            access_ttl: auth.access_ttl,
            refresh_ttl: auth.refresh_ttl,
            grace: Duration::from_secs(60),
            leeway: auth.leeway,
            registration: auth.registration,
            password_threads: auth.password_threads,
            password_queue: auth.password_queue,
            sessions_per_user: auth.max_sessions_per_user,
            attempts_per_account: auth.login_attempts_per_minute,
            attempts_per_address: auth.login_attempts_per_minute_per_ip,
            registrations_per_address: auth.registrations_per_minute_per_ip,
            watch_interval: Duration::from_secs(2),
            clock: Arc::new(SystemTime::now),
            // What OWASP recommends for argon2id: 19 MiB, two passes, one lane.
            hashing: argon2::Params::DEFAULT,
        }
    }
}
