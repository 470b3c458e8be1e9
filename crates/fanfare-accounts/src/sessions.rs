//! Logs users in, refreshes their tokens, and ends sessions.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::storage::{
    Credentials, NewSession, NewToken, Redeemed, Redemption, Session, User, new_id, time_of,
};
use crate::{AccountError, Accounts, Inner, Revocation, Signing, mint::mint, secrets};

/// The most checks of the password in one login, because another login may replace the hash by a better one meanwhile.
const ATTEMPTS: usize = 2;
const MAX_USER_AGENT_BYTES: usize = 255;

/// A session with its user and its current tokens, after a login or a refresh.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: User,
    /// The session; the claim `sid` of the access token.
    pub session_id: String,
    /// The access token, a JWT.
    pub access_token: String,
    /// The refresh token, for [`Accounts::refresh`].
    pub refresh_token: String,
    /// The lifetime of the access token, in seconds.
    pub expires_in: u64,
}

/// Tokens stay out of logs.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.session_id).finish()
    }
}

impl Accounts {
    /// Logs a user in. Failures count for the address `client`; the user's list of sessions shows `user_agent`.
    ///
    /// # Errors
    /// [`AccountError::BadCredentials`] for any wrong credentials, after the same time; [`AccountError::NotIssuing`],
    /// [`AccountError::TooManyAttempts`], [`AccountError::Busy`]; or the database.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        client: Option<IpAddr>,
        user_agent: Option<&str>,
    ) -> Result<Login, AccountError> {
        let ended = self.try_login(email, password, client, user_agent).await;
        self.inner.logins.add(&ended);
        if let Err(error) = &ended {
            tracing::debug!(reason = %error, client = ?client, "a login was refused");
        }
        ended
    }

    async fn try_login(
        &self,
        email: &str,
        password: &str,
        client: Option<IpAddr>,
        user_agent: Option<&str>,
    ) -> Result<Login, AccountError> {
        self.signing()?;
        // No account has a text that is not an address.
        let email = super::normalise_email(email).map_err(|_| AccountError::BadCredentials)?;
        let attempt = self.inner.throttle.begin(&email, client)?;
        let checked = self.check(&email, password, user_agent).await;
        if checked.as_ref().err() != Some(&AccountError::BadCredentials) {
            attempt.uncount();
        }
        checked
    }

    async fn check(
        &self,
        email: &str,
        password: &str,
        user_agent: Option<&str>,
    ) -> Result<Login, AccountError> {
        let mut checked = None;
        for _ in 0..ATTEMPTS {
            let Inner {
                storage, passwords, ..
            } = &*self.inner;
            let place = passwords.place()?;
            let found = storage.credentials(email).await?;
            let stored = found.as_ref().map(|found| found.password.clone());
            // The checked hash is current, so the user is disabled. The time of the reply must not reveal that.
            if checked.is_some() && stored == checked {
                break;
            }
            let verdict = passwords.check(place, password, stored).await?;
            let Some(Credentials { user, password: hash }) = found.filter(|_| verdict.is_right) else {
                break;
            };
            let Some(login) = self.open_session(&user.id, &hash, user_agent).await? else {
                checked = Some(hash);
                continue;
            };
            if let Some(better) = verdict.better {
                // If this fails, a later login replaces the hash.
                let _ = storage.replace_hash(&user.id, &hash, &better).await;
            }
            return Ok(login);
        }
        Err(AccountError::BadCredentials)
    }

    /// Opens a session for a user whose password was checked against `hash`. Returns `None` if the user has another
    /// hash by now, or is disabled.
    pub(crate) async fn open_session(
        &self,
        user_id: &str,
        hash: &str,
        user_agent: Option<&str>,
    ) -> Result<Option<Login>, AccountError> {
        let signing = self.signing()?;
        let refresh_token = secrets::new_token()?;
        let (session_id, now) = (new_id(), self.now());
        let expires_at = self.refresh_expiry(now);
        let session = NewSession {
            id: session_id.clone(),
            user_id: user_id.to_owned(),
            password: hash.to_owned(),
            user_agent: user_agent.map(printable),
            token: NewToken {
                hash: secrets::hash(&refresh_token),
                expires_at,
            },
            most: self.inner.options.sessions_per_user,
        };
        // With the user's current row, because the password may have waited long for its hash.
        let Some((user, ended)) = self.inner.storage.open_session(session, now).await? else {
            return Ok(None);
        };
        self.sessions_ended(ended, now);
        // Another process may have just enabled the user.
        self.revoked(Revocation::Enabled(user.id.as_str().into()), now);
        tracing::debug!(user = user.id, session = session_id, "logged in");
        let (access_token, expires_in) = self.mint(&signing, &user, &session_id, expires_at, now);
        Ok(Some(Login {
            user,
            session_id,
            access_token,
            refresh_token,
            expires_in,
        }))
    }

    /// Returns a new access token for a refresh token; with `rotate`, also a new refresh token. The old refresh token
    /// then works for a short grace, for clients that lost the reply or sent two requests. Its later use ends the
    /// session, because the token was copied. Without `rotate` the refresh token stays valid, and the session ends when
    /// it expires.
    ///
    /// # Errors
    /// [`AccountError::BadToken`], [`AccountError::NotIssuing`], [`AccountError::TooManyAttempts`] if too many tokens
    /// from the address `client` were refused; or the database.
    pub async fn refresh(
        &self,
        refresh_token: &str,
        rotate: bool,
        client: Option<IpAddr>,
    ) -> Result<Login, AccountError> {
        let ended = match self.inner.throttle.check_token(client) {
            Ok(check) => {
                let ended = self.try_refresh(refresh_token, rotate).await;
                // A failure of the database must not count against the client.
                if matches!(ended, Err(AccountError::BadToken)) {
                    check.refuse();
                }
                ended
            }
            Err(refused) => Err(refused),
        };
        self.inner.refreshes.add(&ended);
        ended
    }

    async fn try_refresh(&self, refresh_token: &str, rotate: bool) -> Result<Login, AccountError> {
        let signing = self.signing()?;
        if !secrets::may_be_token(refresh_token) {
            return Err(AccountError::BadToken);
        }
        let now = self.now();
        let next = if rotate { Some(secrets::new_token()?) } else { None };
        let offered = Redemption {
            token_hash: secrets::hash(refresh_token),
            rotation: next.as_deref().map(|next| NewToken {
                hash: secrets::hash(next),
                expires_at: self.refresh_expiry(now),
            }),
            grace: i64::try_from(self.inner.options.grace.as_millis()).unwrap_or(i64::MAX),
        };
        let (session_id, ends_at, user) = match self.inner.storage.redeem(offered, now).await? {
            Redeemed::Good(session, ends_at, user) => (session, ends_at, user),
            Redeemed::Refused => return Err(AccountError::BadToken),
            Redeemed::Replayed(session) => {
                tracing::warn!(
                    session,
                    "a spent refresh token was used again; its session has been ended"
                );
                self.sessions_ended(vec![session], now);
                return Err(AccountError::BadToken);
            }
        };
        let (access_token, expires_in) = self.mint(&signing, &user, &session_id, ends_at, now);
        Ok(Login {
            user,
            session_id,
            access_token,
            refresh_token: next.unwrap_or_else(|| refresh_token.to_owned()),
            expires_in,
        })
    }

    /// Returns the session with this id. The caller must check its user.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if there is none or it has ended; or the database.
    pub async fn session(&self, id: &str) -> Result<Session, AccountError> {
        let found = self.inner.storage.session(id, self.now()).await?;
        found.ok_or(AccountError::NotFound("session"))
    }

    /// Returns the open sessions of a user, the last used first.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn sessions(&self, user_id: &str) -> Result<Vec<Session>, AccountError> {
        Ok(self.inner.storage.sessions_of(user_id, self.now()).await?)
    }

    /// Ends a session: its tokens are refused from now on. The caller must check that this is allowed.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if there is none or it had ended; or the database.
    pub async fn terminate(&self, id: &str) -> Result<(), AccountError> {
        let now = self.now();
        if !self.inner.storage.end_session(id, now).await? {
            return Err(AccountError::NotFound("session"));
        }
        self.sessions_ended(vec![id.to_owned()], now);
        Ok(())
    }

    pub(crate) fn signing(&self) -> Result<Arc<Signing>, AccountError> {
        self.inner.signing.load_full().ok_or(AccountError::NotIssuing)
    }

    fn refresh_expiry(&self, now: i64) -> i64 {
        let ttl = i64::try_from(self.inner.options.refresh_ttl.as_millis()).unwrap_or(i64::MAX);
        now.saturating_add(ttl)
    }

    /// Mints an access token that does not outlive its session. Returns it, and its lifetime in seconds.
    fn mint(
        &self,
        signing: &Signing,
        user: &User,
        session_id: &str,
        session_ends_at: i64,
        now: i64,
    ) -> (String, u64) {
        let options = &self.inner.options;
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("sid", session_id.into());
        claim("roles", user.roles.clone().into());
        claim("email", user.email.as_str().into());
        let (name, issuer, audience) = (&user.name, &signing.issuer, &signing.audience);
        for (name, value) in [("name", name), ("iss", issuer), ("aud", audience)] {
            if let Some(value) = value {
                claim(name, value.as_str().into());
            }
        }
        let left = u64::try_from(session_ends_at.saturating_sub(now)).unwrap_or_default();
        let ttl = options.access_ttl.min(Duration::from_millis(left));
        let token = mint(&signing.secret, &user.id, ttl, &claims, time_of(now));
        (token, ttl.as_secs())
    }
}

/// Returns a client's `User-Agent` without control characters, cut to its limit.
fn printable(user_agent: &str) -> String {
    let mut text = String::new();
    for found in user_agent.chars().filter(|found| !found.is_control()) {
        if text.len() + found.len_utf8() > MAX_USER_AGENT_BYTES {
            break;
        }
        text.push(found);
    }
    text
}
