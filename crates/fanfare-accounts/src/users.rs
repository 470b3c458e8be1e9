//! Making accounts, and changing them.

use std::net::IpAddr;

use crate::storage::{NewUser, PasswordChange, StorageError, User};
use crate::{AccountError, Accounts, Login, Revocation, name::normalise_name, normalise_email};

/// What everybody who registers is.
pub const DEFAULT_ROLE: &str = "user";
/// The longest role, in bytes, and the most roles of a user.
const MAX_ROLE_BYTES: usize = 64;
const MAX_ROLES: usize = 32;

impl Accounts {
    /// Makes an account for a stranger, and logs them in. `client` is the address that registrations are counted for.
    ///
    /// # Errors
    /// [`AccountError::Closed`], [`AccountError::NotIssuing`], [`AccountError::Bad`], [`AccountError::Taken`],
    /// [`AccountError::TooManyAttempts`], [`AccountError::Busy`]; or the database.
    pub async fn register(
        &self,
        email: &str,
        password: &str,
        name: Option<&str>,
        client: Option<IpAddr>,
        user_agent: Option<&str>,
    ) -> Result<Login, AccountError> {
        let ended = match self.inner.throttle.register(client) {
            Ok(attempt) => {
                let ended = self.try_register(email, password, name, user_agent).await;
                // What was made counts, and so does the question whether an address has an account.
                if !matches!(ended, Ok(_) | Err(AccountError::Taken)) {
                    attempt.give_back();
                }
                ended
            }
            Err(refused) => Err(refused),
        };
        self.inner.registrations.add(&ended);
        ended
    }

    async fn try_register(
        &self,
        email: &str,
        password: &str,
        name: Option<&str>,
        user_agent: Option<&str>,
    ) -> Result<Login, AccountError> {
        self.signing()?;
        if !self.inner.options.registration_is_open {
            return Err(AccountError::Closed);
        }
        let (user, hash) = self
            .add(email, password, name, &[DEFAULT_ROLE.to_owned()])
            .await?;
        let login = self.open_session(&user.id, &hash, user_agent).await?;
        // Switched off, or another password, in the moment since.
        login.ok_or(AccountError::BadCredentials)
    }

    /// Makes an account, whatever registration says; for administrators.
    ///
    /// # Errors
    /// [`AccountError::Bad`], [`AccountError::Taken`], [`AccountError::Busy`]; or the database.
    pub async fn create_user(
        &self,
        email: &str,
        password: &str,
        name: Option<&str>,
        roles: &[String],
    ) -> Result<User, AccountError> {
        let roles = checked_roles(roles)?;
        self.add(email, password, name, &roles)
            .await
            .map(|(user, _)| user)
    }

    /// A new user, and the hash of their password.
    async fn add(
        &self,
        email: &str,
        password: &str,
        name: Option<&str>,
        roles: &[String],
    ) -> Result<(User, String), AccountError> {
        let email = normalise_email(email)?;
        let name = name.map(normalise_name).transpose()?.flatten();
        // An address that is taken costs no hash. Two at once find out below.
        if self.inner.storage.credentials(&email).await?.is_some() {
            return Err(AccountError::Taken);
        }
        let hash = self.inner.passwords.hash(password).await?;
        let new = NewUser {
            email: &email,
            name: name.as_deref(),
            password: &hash,
            roles,
        };
        match self.inner.storage.insert_user(&new, self.now()).await {
            Ok(user) => Ok((user, hash)),
            Err(StorageError::Conflict) => Err(AccountError::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn user(&self, id: &str) -> Result<User, AccountError> {
        self.inner
            .storage
            .user(id)
            .await?
            .ok_or(AccountError::NotFound("user"))
    }

    /// The user with this address.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Bad`] for what is no address; or the database.
    pub async fn user_by_email(&self, email: &str) -> Result<User, AccountError> {
        let email = normalise_email(email)?;
        let found = self.inner.storage.credentials(&email).await?;
        found
            .map(|found| found.user)
            .ok_or(AccountError::NotFound("user"))
    }

    /// Users in the order of their making, behind the one with the id `after` (empty for the first).
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, AccountError> {
        Ok(self.inner.storage.users(after, limit).await?)
    }

    /// Gives a user another password. Their sessions end.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Bad`], [`AccountError::Busy`]; or the database.
    pub async fn set_password(&self, id: &str, password: &str) -> Result<(), AccountError> {
        let hash = self.inner.passwords.hash(password).await?;
        let now = self.now();
        let change = PasswordChange {
            user_id: id.to_owned(),
            old: None,
            new: hash,
            keep: None,
        };
        let ended = self.inner.storage.change_password(change, now).await?;
        self.sessions_ended(ended.ok_or(AccountError::NotFound("user"))?, now);
        Ok(())
    }

    /// Gives a user these roles alone. Where one was taken away their sessions end, as the tokens still name it; else
    /// the next refresh brings the new ones.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Bad`]; or the database.
    pub async fn set_roles(&self, id: &str, roles: &[String]) -> Result<(), AccountError> {
        let roles = checked_roles(roles)?;
        let now = self.now();
        let ended = self.inner.storage.set_roles(id, &roles, now).await?;
        self.sessions_ended(ended.ok_or(AccountError::NotFound("user"))?, now);
        Ok(())
    }

    /// Switches an account off, which ends its sessions and refuses its tokens, or on again.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn set_disabled(&self, id: &str, disabled: bool) -> Result<(), AccountError> {
        let now = self.now();
        let ended = self.inner.storage.set_disabled(id, disabled, now).await?;
        self.sessions_ended(ended.ok_or(AccountError::NotFound("user"))?, now);
        let revocation = if disabled {
            Revocation::Disabled
        } else {
            Revocation::Enabled
        };
        self.revoked(revocation(id.into()), now);
        Ok(())
    }

    /// Takes note of sessions that ended at `now`.
    pub(crate) fn sessions_ended(&self, ids: Vec<String>, now: i64) {
        for id in ids {
            self.revoked(Revocation::Session(id.into()), now);
        }
    }
}

/// Roles as they are kept: each once.
fn checked_roles(roles: &[String]) -> Result<Vec<String>, AccountError> {
    let mut checked: Vec<String> = Vec::new();
    for role in roles {
        if role.is_empty()
            || role.len() > MAX_ROLE_BYTES
            || role.contains(|c: char| c.is_control() || c.is_whitespace())
        {
            return Err(AccountError::bad("role", "expected 1 to 64 bytes without spaces"));
        }
        if !checked.contains(role) {
            checked.push(role.clone());
        }
    }
    if checked.len() > MAX_ROLES {
        return Err(AccountError::bad("role", "more than 32"));
    }
    Ok(checked)
}
