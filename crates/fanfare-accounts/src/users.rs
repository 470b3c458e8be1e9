//! Creates and changes accounts.

use std::net::IpAddr;

use crate::storage::{StorageError, User, new_id};
use crate::{AccountError, Accounts, Login, Revocation, name::normalise_name, normalise_email};

/// The role of every user who registers.
pub const DEFAULT_ROLE: &str = "user";
/// The longest role, in bytes, and the most roles of a user.
const MAX_ROLE_BYTES: usize = 64;
const MAX_ROLES: usize = 32;

impl Accounts {
    /// Registers a user and logs them in. Registrations count for the address `client`.
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
                // A created account counts, and so does the reply that an address is taken.
                if !matches!(ended, Ok(_) | Err(AccountError::Taken)) {
                    attempt.uncount();
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
        let roles = [DEFAULT_ROLE.to_owned()];
        let (user, hash) = self.add(email, password, name, &roles).await?;
        let login = self.open_session(&user.id, &hash, user_agent).await?;
        // `None` if the account was disabled or its password changed meanwhile.
        login.ok_or(AccountError::BadCredentials)
    }

    /// Creates an account even if registration is closed; for administrators.
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
        let (user, _) = self.add(email, password, name, &roles).await?;
        Ok(user)
    }

    /// Adds a user; returns it with the hash of the password.
    async fn add(
        &self,
        email: &str,
        password: &str,
        name: Option<&str>,
        roles: &[String],
    ) -> Result<(User, String), AccountError> {
        let email = normalise_email(email)?;
        let name = name.map(normalise_name).transpose()?.flatten();
        // A taken address must not cost a hash. Of two concurrent registrations, the second fails below.
        if self.inner.storage.credentials(&email).await?.is_some() {
            return Err(AccountError::Taken);
        }
        let hash = self.inner.passwords.hash(password).await?;
        let user = User {
            id: new_id(),
            email,
            name,
            roles: roles.to_vec(),
            created_at: self.now(),
            last_login_at: None,
            disabled_at: None,
        };
        match self.inner.storage.insert_user(&user, &hash).await {
            Ok(()) => Ok((user, hash)),
            Err(StorageError::Conflict) => Err(AccountError::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the user with this id.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn user(&self, id: &str) -> Result<User, AccountError> {
        let found = self.inner.storage.user(id).await?;
        found.ok_or(AccountError::NotFound("user"))
    }

    /// Returns the user with this address.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Bad`] if it is not an address; or the database.
    pub async fn user_by_email(&self, email: &str) -> Result<User, AccountError> {
        let email = normalise_email(email)?;
        let found = self.inner.storage.credentials(&email).await?;
        Ok(found.ok_or(AccountError::NotFound("user"))?.user)
    }

    /// Returns users in the order of creation, after the one with the id `after` (empty for the first).
    ///
    /// # Errors
    /// If the database cannot be used.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, AccountError> {
        Ok(self.inner.storage.users(after, limit).await?)
    }

    /// Sets a user's password and ends their sessions.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Bad`], [`AccountError::Busy`]; or the database.
    pub async fn set_password(&self, id: &str, password: &str) -> Result<(), AccountError> {
        let hash = self.inner.passwords.hash(password).await?;
        let now = self.now();
        let change = self.inner.storage.change_password(id, None, &hash, None, now);
        let ended = change.await?;
        self.sessions_ended(ended.ok_or(AccountError::NotFound("user"))?, now);
        Ok(())
    }

    /// Sets a user's roles. If a role is removed, their sessions end, because the tokens still contain it; otherwise the
    /// next refresh has the new roles.
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

    /// Disables an account, which ends its sessions and refuses its tokens, or enables it.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; or the database.
    pub async fn set_disabled(&self, id: &str, disabled: bool) -> Result<(), AccountError> {
        let now = self.now();
        let ended = self.inner.storage.set_disabled(id, disabled, now).await?;
        self.sessions_ended(ended.ok_or(AccountError::NotFound("user"))?, now);
        self.revoked(Revocation::of_user(id.into(), disabled), now);
        Ok(())
    }

    /// Applies the end of sessions at `now` to the revocations.
    pub(crate) fn sessions_ended(&self, ids: Vec<String>, now: i64) {
        for id in ids {
            self.revoked(Revocation::Session(id.into()), now);
        }
    }
}

/// Returns the roles without duplicates, if all are valid.
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
