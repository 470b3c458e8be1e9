//! The tables of sessions and refresh tokens, which have only the tokens' hashes.

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{Result, Storage, User, statement, transaction::Work};

/// The most refresh tokens of one session, used ones included; older ones are deleted.
const MAX_TOKENS: i64 = 1000;

/// A login. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// A UUID; the claim `sid` of the session's tokens.
    pub id: String,
    /// The user.
    pub user_id: String,
    /// The `User-Agent` at the login.
    pub user_agent: Option<String>,
    /// The time of the login.
    pub created_at: i64,
    /// The time of the last refresh.
    pub last_used_at: i64,
    /// Its expiry.
    pub expires_at: i64,
}

pub(crate) struct NewSession {
    pub(crate) id: String,
    pub(crate) user_id: String,
    /// The hash of the checked password. If the user has another hash by now, no session is opened.
    pub(crate) password: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) token: NewToken,
    /// The most sessions of this user; the least recently used ones end.
    pub(crate) most: u32,
}

pub(crate) struct Redemption {
    pub(crate) token_hash: String,
    /// The token that replaces it; `None` keeps it.
    pub(crate) rotation: Option<NewToken>,
    /// The time for which a replaced token still works, in milliseconds.
    pub(crate) grace: i64,
}

pub(crate) struct NewToken {
    pub(crate) hash: String,
    /// The expiry of the token and its session.
    pub(crate) expires_at: i64,
}

/// The result of redeeming a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// The token is valid. Contains the session's id and expiry, and the user's current row.
    Good(String, i64, User),
    /// The token is unknown or expired, or its session has ended, or its user is disabled.
    Refused,
    /// The token was replaced too long ago, so it was copied. The session with this id has been ended.
    Replayed(String),
}

/// A `*` would break prepared statements when a later version adds a column.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT id, user_id, user_agent, created_at, last_used_at, expires_at FROM sessions WHERE ",
            $which
        )
    };
}

impl Storage {
    /// Opens a session with its first refresh token. Returns the user's current row and the ids of the sessions that
    /// were ended to make room; `None` if the user is disabled or has another password by now.
    pub(crate) async fn open_session(
        &self,
        new: NewSession,
        now: i64,
    ) -> Result<Option<(User, Vec<String>)>> {
        let work: Work<_> = Box::new(move |connection| Box::pin(open(connection, new, now)));
        self.write(work, Option::is_some).await
    }

    pub(crate) async fn redeem(&self, offered: Redemption, now: i64) -> Result<Redeemed> {
        // An unknown token must cost one read, and no wait for the writer's permit.
        let known =
            statement("SELECT hash FROM refresh_tokens WHERE hash = $1").bind(offered.token_hash.clone());
        if self.one(known, |_| Ok(())).await?.is_none() {
            return Ok(Redeemed::Refused);
        }
        let work: Work<_> = Box::new(move |connection| Box::pin(redeem(connection, offered, now)));
        self.write(work, |redeemed| *redeemed != Redeemed::Refused).await
    }

    /// Returns the session with this id, unless it has ended.
    pub(crate) async fn session(&self, id: &str, now: i64) -> Result<Option<Session>> {
        let select = select!("id = $1 AND revoked_at IS NULL AND expires_at > $2");
        let query = statement(select).bind(id.to_owned()).bind(now);
        self.one(query, read).await
    }

    /// Returns the open sessions of a user, the last used first.
    pub(crate) async fn sessions_of(&self, user_id: &str, now: i64) -> Result<Vec<Session>> {
        let select = select!(
            "user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY last_used_at DESC, id DESC"
        );
        let query = statement(select).bind(user_id.to_owned()).bind(now);
        self.all(query, read).await
    }

    /// Ends a session. Returns `false` if there is none or it has already ended.
    pub(crate) async fn end_session(&self, id: &str, now: i64) -> Result<bool> {
        let update =
            "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2";
        let query = statement(update).bind(id.to_owned()).bind(now);
        Ok(self.change(query).await? > 0)
    }

    /// Returns the ids of the sessions that were ended at or after `since`, with the time of each.
    pub(crate) async fn ended_sessions(&self, since: i64) -> Result<Vec<(String, i64)>> {
        let query = statement("SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1").bind(since);
        self.all(query, |row| Ok((row.try_get("id")?, row.try_get("revoked_at")?)))
            .await
    }

    /// Deletes sessions and refresh tokens that expired before `before`, and returns the number of sessions.
    pub(crate) async fn forget_sessions(&self, before: i64) -> Result<u64> {
        let tokens = statement("DELETE FROM refresh_tokens WHERE expires_at < $1").bind(before);
        let resets = statement("DELETE FROM reset_tokens WHERE expires_at < $1").bind(before);
        let sessions = statement("DELETE FROM sessions WHERE expires_at < $1").bind(before);
        let work: Work<_> = Box::new(move |connection| {
            Box::pin(async move {
                tokens.execute(&mut *connection).await?;
                resets.execute(&mut *connection).await?;
                Ok(sessions.execute(connection).await?.rows_affected())
            })
        });
        self.write(work, |count| *count > 0).await
    }
}

async fn open(
    connection: &mut AnyConnection,
    new: NewSession,
    now: i64,
) -> sqlx::Result<Option<(User, Vec<String>)>> {
    let login = statement(super::users::LOGGED_IN)
        .bind(new.user_id.clone())
        .bind(new.password)
        .bind(now);
    let Some(row) = login.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let user = super::users::read_user(&row)?;
    let insert = "INSERT INTO sessions (id, user_id, user_agent, created_at, last_used_at, expires_at) \
                  VALUES ($1, $2, $3, $4, $4, $5)";
    statement(insert)
        .bind(new.id.clone())
        .bind(new.user_id.clone())
        .bind(new.user_agent)
        .bind(now)
        .bind(new.token.expires_at)
        .execute(&mut *connection)
        .await?;
    insert_token(connection, new.id, new.token, now).await?;
    let ended = end_oldest(connection, new.user_id, new.most, now).await?;
    Ok(Some((user, ended)))
}

async fn redeem(connection: &mut AnyConnection, offered: Redemption, now: i64) -> sqlx::Result<Redeemed> {
    // Locks the session until the end of the transaction, so that its tokens are redeemed one after the other.
    let update = "UPDATE sessions SET last_used_at = $2 \
                  WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) \
                  AND revoked_at IS NULL AND expires_at > $2 RETURNING id, user_id, expires_at";
    let locked = statement(update).bind(offered.token_hash.clone()).bind(now);
    let Some(session) = locked.fetch_optional(&mut *connection).await? else {
        return Ok(Redeemed::Refused);
    };
    let (id, user_id): (String, String) = (session.try_get("id")?, session.try_get("user_id")?);
    let token = statement("SELECT expires_at, rotated_at FROM refresh_tokens WHERE hash = $1")
        .bind(offered.token_hash.clone())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(token) = token else {
        return Ok(Redeemed::Refused);
    };
    let rotated_at: Option<i64> = token.try_get("rotated_at")?;
    if rotated_at.is_some_and(|at| now.saturating_sub(at) > offered.grace) {
        statement("UPDATE sessions SET revoked_at = $2 WHERE id = $1")
            .bind(id.clone())
            .bind(now)
            .execute(connection)
            .await?;
        return Ok(Redeemed::Replayed(id));
    }
    let token_ends: i64 = token.try_get("expires_at")?;
    let user = statement(super::users::BY_ID).bind(user_id);
    let user = user.fetch_optional(&mut *connection).await?;
    let user = user.as_ref().map(super::users::read_user).transpose()?;
    let Some(user) = user.filter(|user| user.disabled_at.is_none() && token_ends > now) else {
        return Ok(Redeemed::Refused);
    };
    let Some(rotation) = offered.rotation else {
        return Ok(Redeemed::Good(id, session.try_get("expires_at")?, user));
    };
    let ends_at = rotation.expires_at;
    rotate(connection, id.clone(), offered.token_hash, rotation, now).await?;
    Ok(Redeemed::Good(id, ends_at, user))
}

async fn rotate(
    connection: &mut AnyConnection,
    session: String,
    spent: String,
    by: NewToken,
    now: i64,
) -> sqlx::Result<()> {
    // The grace counts from the first replacement.
    statement("UPDATE refresh_tokens SET rotated_at = $2 WHERE hash = $1 AND rotated_at IS NULL")
        .bind(spent)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    statement("UPDATE sessions SET expires_at = $2 WHERE id = $1")
        .bind(session.clone())
        .bind(by.expires_at)
        .execute(&mut *connection)
        .await?;
    insert_token(connection, session.clone(), by, now).await?;
    let oldest = "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens \
                  WHERE session_id = $1 ORDER BY created_at DESC LIMIT 1000000 OFFSET $2)";
    statement(oldest)
        .bind(session)
        .bind(MAX_TOKENS)
        .execute(connection)
        .await
        .map(drop)
}

async fn insert_token(
    connection: &mut AnyConnection,
    session: String,
    token: NewToken,
    now: i64,
) -> sqlx::Result<()> {
    let insert =
        "INSERT INTO refresh_tokens (hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    statement(insert)
        .bind(token.hash)
        .bind(session)
        .bind(now)
        .bind(token.expires_at)
        .execute(connection)
        .await
        .map(drop)
}

async fn end_oldest(
    connection: &mut AnyConnection,
    user: String,
    most: u32,
    now: i64,
) -> sqlx::Result<Vec<String>> {
    let update = "UPDATE sessions SET revoked_at = $2 WHERE id IN (SELECT id FROM sessions \
                  WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 \
                  ORDER BY last_used_at DESC, id DESC LIMIT 1000000 OFFSET $3) RETURNING id";
    let rows = statement(update)
        .bind(user)
        .bind(now)
        .bind(i64::from(most))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.try_get("id")).collect()
}

fn read(row: &AnyRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        user_agent: row.try_get("user_agent")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}
