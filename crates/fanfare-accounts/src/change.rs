//! Changes a password by the current one, and resets it by a one-time token.

use std::net::IpAddr;

use crate::{AccountError, Accounts, Inner, secrets};

/// The lifetime of a reset token, in milliseconds.
const RESET_TOKEN_LIFE: i64 = 3_600_000;
const NEW_PASSWORD: &str = "newPassword";

/// A user's change of their own password.
#[derive(Clone, Copy)]
pub struct PasswordChange<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The session that continues; all other sessions of the user end.
    pub session: Option<&'a str>,
    /// The current password.
    pub current: &'a str,
    /// The new password.
    pub new: &'a str,
    /// The address for which wrong passwords are counted.
    pub client: Option<IpAddr>,
}

/// A new reset token.
pub struct ResetToken {
    /// The token.
    pub token: String,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at: i64,
}

impl Accounts {
    /// Changes a user's password and ends their other sessions. Returns the ids of those sessions.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`], [`AccountError::Bad`], [`AccountError::NotFound`] if the user has no account,
    /// [`AccountError::TooManyAttempts`], [`AccountError::Busy`]; or the database.
    pub async fn change_password(&self, change: PasswordChange<'_>) -> Result<Vec<String>, AccountError> {
        let Inner {
            storage,
            passwords,
            throttle,
            ..
        } = &*self.inner;
        let found = storage.credentials_of(change.user_id).await?;
        let found = found.ok_or(AccountError::NotFound("user"))?;
        let attempt = throttle.begin(&found.user.email, change.client)?;
        let changed = async {
            let (place, stored) = (passwords.place()?, Some(found.password.clone()));
            let verdict = passwords.check(place, change.current, stored).await?;
            if !verdict.is_right {
                return Err(AccountError::WrongPassword);
            }
            let new = passwords.hash(change.new).await.map_err(of_new_password)?;
            let now = self.now();
            let (user, old) = (change.user_id, Some(found.password.as_str()));
            let ended = storage.change_password(user, old, &new, change.session, now);
            // `None` if another request has changed the password meanwhile, so that the checked one is no longer current.
            let ended = ended.await?.ok_or(AccountError::WrongPassword)?;
            self.sessions_ended(ended.clone(), now);
            Ok(ended)
        };
        let changed = changed.await;
        if !matches!(changed, Err(AccountError::WrongPassword)) {
            attempt.uncount();
        }
        changed
    }

    /// Creates a token that resets a user's password, and replaces an earlier one. It is valid for one use within an
    /// hour.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn create_reset_token(&self, user_id: &str) -> Result<ResetToken, AccountError> {
        let token = secrets::new_token()?;
        let expires_at = self.now().saturating_add(RESET_TOKEN_LIFE);
        let (storage, hash) = (&self.inner.storage, secrets::hash(&token));
        let inserted = storage.insert_reset_token(user_id, &hash, expires_at).await?;
        inserted.then_some(()).ok_or(AccountError::NotFound("user"))?;
        Ok(ResetToken { token, expires_at })
    }

    /// Redeems a reset token: sets its user's password and ends their sessions. Returns the ids of those sessions.
    ///
    /// # Errors
    /// [`AccountError::BadResetToken`], [`AccountError::Bad`], [`AccountError::TooManyAttempts`],
    /// [`AccountError::Busy`]; or the database. After any but the first the token is still valid.
    pub async fn reset_password(
        &self,
        token: &str,
        new: &str,
        client: Option<IpAddr>,
    ) -> Result<Vec<String>, AccountError> {
        let check = self.inner.throttle.check_token(client)?;
        let reset = self.try_reset(token, new).await;
        if matches!(reset, Err(AccountError::BadResetToken)) {
            check.refuse();
        }
        reset
    }

    async fn try_reset(&self, token: &str, new: &str) -> Result<Vec<String>, AccountError> {
        let storage = &self.inner.storage;
        let hash = secrets::hash(token);
        // An invalid token must not cost a password hash.
        if !secrets::may_be_token(token) || !storage.has_reset_token(&hash, self.now()).await? {
            return Err(AccountError::BadResetToken);
        }
        let new = self.inner.passwords.hash(new).await.map_err(of_new_password)?;
        let now = self.now();
        let ended = storage.redeem_reset_token(&hash, &new, now).await?;
        let ended = ended.ok_or(AccountError::BadResetToken)?;
        self.sessions_ended(ended.clone(), now);
        Ok(ended)
    }
}

fn of_new_password(error: AccountError) -> AccountError {
    match error {
        AccountError::Bad { issue, .. } => AccountError::bad(NEW_PASSWORD, issue),
        other => other,
    }
}
