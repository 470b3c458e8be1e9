//! Ends the sessions of a user: when the password changes, a role is removed, or the account is disabled.

use sqlx::{AnyConnection, Row};

use super::statement;

/// Ends all sessions of a user except the one to keep, and returns their ids.
pub(super) async fn end_all(
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
