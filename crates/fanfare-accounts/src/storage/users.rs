//! The tables of users and reset tokens.

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{Result, Storage, list_of, statement, text_of, transaction::Work};

/// A user, without secrets. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// A UUID.
    pub id: String,
    /// The normalised address.
    pub email: String,
    /// The display name, if the user has one.
    pub name: Option<String>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The time of the registration.
    pub created_at: i64,
    /// The time of the last login.
    pub last_login_at: Option<i64>,
    /// The time at which the account was disabled.
    pub disabled_at: Option<i64>,
}

pub(crate) struct Credentials {
    pub(crate) user: User,
    /// The hash, as a PHC string.
    pub(crate) password: String,
}

/// A `*` would break prepared statements when a later version adds a column.
macro_rules! columns {
    () => {
        "id, email, name, password, roles, created_at, last_login_at, disabled_at"
    };
}
macro_rules! select {
    ($which:literal) => {
        concat!("SELECT ", columns!(), " FROM users WHERE ", $which)
    };
}

/// Records a login of an enabled user with this hash, and reads the user's current row.
pub(super) const LOGGED_IN: &str = concat!(
    "UPDATE users SET last_login_at = $3 WHERE id = $1 AND password = $2 AND disabled_at IS NULL RETURNING ",
    columns!()
);
pub(super) const BY_ID: &str = select!("id = $1");

impl Storage {
    /// Stores a new user with the hash of their password; fails with `Conflict` if the address is taken.
    pub(crate) async fn insert_user(&self, user: &User, password: &str) -> Result<()> {
        let insert = "INSERT INTO users (id, email, name, password, roles, created_at, changed_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $6)";
        let query = statement(insert)
            .bind(user.id.clone())
            .bind(user.email.clone())
            .bind(user.name.clone())
            .bind(password.to_owned())
            .bind(text_of(&user.roles))
            .bind(user.created_at);
        self.change(query).await.map(drop)
    }

    pub(crate) async fn user(&self, id: &str) -> Result<Option<User>> {
        self.one(statement(BY_ID).bind(id.to_owned()), read_user).await
    }

    /// Returns the user with this normalised address, and the hash of their password.
    pub(crate) async fn credentials(&self, email: &str) -> Result<Option<Credentials>> {
        let query = statement(select!("email = $1")).bind(email.to_owned());
        self.one(query, read_credentials).await
    }

    /// Returns the user with this id, and the hash of their password.
    pub(crate) async fn credentials_of(&self, id: &str) -> Result<Option<Credentials>> {
        let query = statement(BY_ID).bind(id.to_owned());
        self.one(query, read_credentials).await
    }

    /// Returns at most `limit` users in the order of creation, after the one with the id `after`.
    pub(crate) async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>> {
        let query = statement(select!("id > $1 ORDER BY id LIMIT $2"));
        let query = query.bind(after.to_owned()).bind(i64::from(limit));
        self.all(query, read_user).await
    }

    /// Replaces the hash `old` by `new`, if it is still the user's; for a better hash of the same password.
    pub(crate) async fn replace_hash(&self, id: &str, old: &str, new: &str) -> Result<()> {
        let query = statement("UPDATE users SET password = $3 WHERE id = $1 AND password = $2")
            .bind(id.to_owned())
            .bind(old.to_owned())
            .bind(new.to_owned());
        self.change(query).await.map(drop)
    }

    /// Sets a user's roles, and ends their sessions if a role is removed; returns the same as [`Self::change_password`].
    pub(crate) async fn set_roles(
        &self,
        id: &str,
        roles: &[String],
        now: i64,
    ) -> Result<Option<Vec<String>>> {
        // Locks the row, so that of two concurrent changes the second reads the roles of the first.
        let read =
            statement("UPDATE users SET roles = roles WHERE id = $1 RETURNING roles").bind(id.to_owned());
        let update = statement("UPDATE users SET roles = $2 WHERE id = $1")
            .bind(id.to_owned())
            .bind(text_of(roles));
        let (id, roles) = (id.to_owned(), roles.to_vec());
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                let Some(row) = read.fetch_optional(&mut *connection).await? else {
                    return Ok(None);
                };
                let before = list_of(&row, "roles")?;
                update.execute(&mut *connection).await?;
                if before.iter().all(|role| roles.contains(role)) {
                    return Ok(Some(Vec::new()));
                }
                end_sessions(connection, id, None, now).await.map(Some)
            })
        });
        self.write(work, Option::is_some).await
    }

    /// Disables an account, which ends its sessions, or enables it; returns the same as [`Self::change_password`].
    pub(crate) async fn set_disabled(
        &self,
        id: &str,
        disabled: bool,
        now: i64,
    ) -> Result<Option<Vec<String>>> {
        let update = statement("UPDATE users SET disabled_at = $2, changed_at = $3 WHERE id = $1")
            .bind(id.to_owned())
            .bind(disabled.then_some(now))
            .bind(now);
        let ends = disabled.then(|| id.to_owned());
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                // The user's row is locked first, here and at a login: a session is either ended here or opened after.
                if update.execute(&mut *connection).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                match ends {
                    Some(user) => end_sessions(connection, user, None, now).await.map(Some),
                    None => Ok(Some(Vec::new())),
                }
            })
        });
        self.write(work, Option::is_some).await
    }

    /// Returns the accounts that were enabled, disabled or created at or after `since`: the id, and whether it is
    /// disabled.
    pub(crate) async fn switched_users(&self, since: i64) -> Result<Vec<(String, bool)>> {
        let select = "SELECT id, disabled_at FROM users \
                      WHERE changed_at >= $1 AND (disabled_at IS NOT NULL OR changed_at > created_at)";
        self.all(statement(select).bind(since), |row| {
            let disabled: Option<i64> = row.try_get("disabled_at")?;
            Ok((row.try_get("id")?, disabled.is_some()))
        })
        .await
    }
}

/// Passwords, and the table of reset tokens.
impl Storage {
    /// Replaces a user's password by the hash `new`, ends their sessions except `keep`, and makes earlier reset tokens
    /// invalid. Returns the ids of the ended sessions; `None` if there is no such user, or the hash is not `old`, if given.
    pub(crate) async fn change_password(
        &self,
        user_id: &str,
        old: Option<&str>,
        new: &str,
        keep: Option<&str>,
        now: i64,
    ) -> Result<Option<Vec<String>>> {
        let update = "UPDATE users SET password = $2 WHERE id = $1 AND password = COALESCE($3, password)";
        let update = statement(update)
            .bind(user_id.to_owned())
            .bind(new.to_owned())
            .bind(old.map(str::to_owned));
        let forget = statement("DELETE FROM reset_tokens WHERE user_id = $1").bind(user_id.to_owned());
        let (user_id, keep) = (user_id.to_owned(), keep.map(str::to_owned));
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                // The user's row is locked first, here and at a login: a session is either ended here or opened after.
                if update.execute(&mut *connection).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                forget.execute(&mut *connection).await?;
                let ended = end_sessions(connection, user_id, keep, now).await?;
                Ok(Some(ended))
            })
        });
        self.write(work, Option::is_some).await
    }

    /// Stores the hash of a reset token and replaces the user's last one. Returns `false` if there is no such user.
    pub(crate) async fn insert_reset_token(
        &self,
        user_id: &str,
        hash: &str,
        expires_at: i64,
    ) -> Result<bool> {
        let insert = "INSERT INTO reset_tokens (user_id, hash, expires_at) SELECT id, $2, $3 FROM users WHERE id = $1 \
                      ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at";
        let query = statement(insert)
            .bind(user_id.to_owned())
            .bind(hash.to_owned())
            .bind(expires_at);
        Ok(self.change(query).await? > 0)
    }

    /// Returns whether a reset token with this hash is valid.
    pub(crate) async fn has_reset_token(&self, hash: &str, now: i64) -> Result<bool> {
        let query = statement("SELECT user_id FROM reset_tokens WHERE hash = $1 AND expires_at > $2")
            .bind(hash.to_owned())
            .bind(now);
        Ok(self.one(query, |_| Ok(())).await?.is_some())
    }

    /// Redeems a reset token: sets its user's password and ends all their sessions. Returns the ids of the sessions;
    /// `None` if the token is unknown, expired or used, or its user is disabled.
    pub(crate) async fn redeem_reset_token(
        &self,
        hash: &str,
        password: &str,
        now: i64,
    ) -> Result<Option<Vec<String>>> {
        // The user's row is locked first, as everywhere, so that of two concurrent uses of the token the second finds none.
        let lock = "UPDATE users SET password = password WHERE id = (SELECT user_id FROM reset_tokens WHERE hash = $1)";
        let lock = statement(lock).bind(hash.to_owned());
        let spend = "DELETE FROM reset_tokens WHERE hash = $1 AND expires_at > $2 RETURNING user_id";
        let spend = statement(spend).bind(hash.to_owned()).bind(now);
        let update = statement("UPDATE users SET password = $1 WHERE id = $2 AND disabled_at IS NULL");
        let update = update.bind(password.to_owned());
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                lock.execute(&mut *connection).await?;
                let Some(row) = spend.fetch_optional(&mut *connection).await? else {
                    return Ok(None);
                };
                let user: String = row.try_get("user_id")?;
                let update = update.bind(user.clone());
                if update.execute(&mut *connection).await?.rows_affected() == 0 {
                    return Ok(None);
                }
                end_sessions(connection, user, None, now).await.map(Some)
            })
        });
        self.write(work, Option::is_some).await
    }
}

/// Ends all sessions of a user except the one to keep, and returns their ids.
async fn end_sessions(
    connection: &mut AnyConnection,
    user: String,
    keep: Option<String>,
    now: i64,
) -> sqlx::Result<Vec<String>> {
    let update = "UPDATE sessions SET revoked_at = $2 \
                  WHERE user_id = $1 AND revoked_at IS NULL AND id <> $3 RETURNING id";
    let rows = statement(update)
        .bind(user)
        .bind(now)
        .bind(keep.unwrap_or_default())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.try_get("id")).collect()
}

pub(super) fn read_user(row: &AnyRow) -> sqlx::Result<User> {
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        roles: list_of(row, "roles")?,
        created_at: row.try_get("created_at")?,
        last_login_at: row.try_get("last_login_at")?,
        disabled_at: row.try_get("disabled_at")?,
    })
}

fn read_credentials(row: &AnyRow) -> sqlx::Result<Credentials> {
    Ok(Credentials {
        user: read_user(row)?,
        password: row.try_get("password")?,
    })
}
