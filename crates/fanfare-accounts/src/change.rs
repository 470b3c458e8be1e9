//! Changing a password with the one before it, and resetting it with a token of one use.

use std::net::IpAddr;
use std::time::Duration;

use crate::storage;
use crate::{AccountError, Accounts, Inner, secrets};

/// How long a reset token may be used.
const RESET_TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The field that a new password comes in.
const NEW_PASSWORD: &str = "newPassword";

/// A password that its owner changes.
#[derive(Clone, Copy)]
pub struct PasswordChange<'a> {
    /// Whose it is.
    pub user_id: &'a str,
    /// The session that goes on; all others of the user end.
    pub session: Option<&'a str>,
    /// The password so far.
    pub current: &'a str,
    /// The password from now on.
    pub new: &'a str,
    /// The address that wrong passwords are counted for.
    pub client: Option<IpAddr>,
}

/// A reset token as it is handed out, once.
pub struct ResetToken {
    /// The token.
    pub token: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: i64,
}

impl Accounts {
    /// Changes a user's password and ends their other sessions. Returns the ids of those.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`], [`AccountError::Bad`], [`AccountError::NotFound`] if the user has no account here,
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
            let place = passwords.place()?;
            let verdict = passwords
                .check(place, change.current, Some(found.password.clone()))
                .await?;
            if !verdict.is_right {
                return Err(AccountError::WrongPassword);
            }
            let new = passwords.hash(change.new).await.map_err(of_new_password)?;
            let now = self.now();
            let change = storage::PasswordChange {
                user_id: change.user_id.to_owned(),
                old: Some(found.password.clone()),
                new,
                keep: change.session.map(str::to_owned),
            };
            // `None`: another request has changed it meanwhile, so the one that was checked is the wrong one now.
            let ended = storage.change_password(change, now).await?;
            let ended = ended.ok_or(AccountError::WrongPassword)?;
            self.sessions_ended(ended.clone(), now);
            Ok(ended)
        };
        let changed = changed.await;
        if !matches!(changed, Err(AccountError::WrongPassword)) {
            attempt.give_back();
        }
        changed
    }

    /// Makes a token that resets a user's password, in the place of one made before. It works once, for an hour.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn create_reset_token(&self, user_id: &str) -> Result<ResetToken, AccountError> {
        let token = secrets::new_token()?;
        let life = i64::try_from(RESET_TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
        let expires_at = self.now().saturating_add(life);
        let hash = secrets::hash(&token);
        if !self
            .inner
            .storage
            .insert_reset_token(user_id, &hash, expires_at)
            .await?
        {
            return Err(AccountError::NotFound("user"));
        }
        Ok(ResetToken { token, expires_at })
    }

    /// Spends a reset token: gives its user another password and ends their sessions. Returns the ids of those.
    ///
    /// # Errors
    /// [`AccountError::BadResetToken`], [`AccountError::Bad`], [`AccountError::TooManyAttempts`], [`AccountError::Busy`];
    /// or the database. The token can be used again after any but the first.
    pub async fn reset_password(
        &self,
        token: &str,
        new: &str,
        client: Option<IpAddr>,
    ) -> Result<Vec<String>, AccountError> {
        let judging = self.inner.throttle.judge(client)?;
        let reset = self.try_reset(token, new).await;
        if !matches!(reset, Err(AccountError::BadResetToken)) {
            judging.accept();
        }
        reset
    }

    async fn try_reset(&self, token: &str, new: &str) -> Result<Vec<String>, AccountError> {
        let storage = &self.inner.storage;
        let hash = secrets::hash(token);
        // Strangers must not have passwords hashed.
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
