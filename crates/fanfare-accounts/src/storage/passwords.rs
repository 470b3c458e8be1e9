//! Changes of passwords, and the table of reset tokens.

use sqlx::Row as _;

use super::{Result, Storage, session_ends, statement, transaction::Work};

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
                let ended = session_ends::end_all(connection, user_id, keep, now).await?;
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
        // The user's row is locked first, as everywhere: of two concurrent uses of the token, the second finds none.
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
                session_ends::end_all(connection, user, None, now).await.map(Some)
            })
        });
        self.write(work, Option::is_some).await
    }
}
