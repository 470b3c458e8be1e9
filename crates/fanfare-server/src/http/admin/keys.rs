//! `/api/v1/keys`: lists, creates and revokes the API keys in the database. Keys of the configuration have no names to list.

use fanfare_accounts::{Scope, storage::StoredKey};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApiError, ApiFailure, Reply, RouteCall, read, reply};

/// All keys.
#[derive(Serialize, ToSchema)]
struct ShownKeys<'a> {
    #[schema(inline)]
    keys: Vec<ShownKey<'a>>,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
struct ShownKey<'a> {
    id: &'a str,
    name: &'a str,
    /// publish, read or admin.
    scopes: &'a [String],
    #[schema(format = DateTime)]
    created_at: String,
    /// The time at which it was revoked; null if it is valid.
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
    /// The time of its last use, to the minute; null if it was never used.
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
}

/// The created key.
#[derive(Serialize, ToSchema)]
struct NewKey<'a> {
    /// The secret. It is not shown again.
    key: &'a str,
    id: &'a str,
    name: &'a str,
    scopes: &'a [String],
}

/// The new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateKeyBody {
    /// Its name, such as the service that uses it.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// publish, read or admin.
    #[schema(inline, min_items = 1, value_type = Vec<ScopeName>)]
    scopes: Vec<Scope>,
}

/// A scope of a key, for descriptions.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it is only described")]
enum ScopeName {
    Publish,
    Read,
    Admin,
}

/// The API keys in the database, revoked ones included.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "listKeys",
    responses(
        (status = 200, description = "All keys, without their secrets.", body = inline(ShownKeys<'static>)),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let keys = call.site.options.accounts.keys().await?;
    let keys = keys.iter().map(ShownKey::of).collect();
    Ok(reply::ok(&ShownKeys { keys }))
}

/// Creates an API key. After the first one, callers on this machine also need a key.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    operation_id = "createKey",
    request_body(content = inline(CreateKeyBody), example = json!({ "name": "billing", "scopes": ["publish"] })),
    responses(
        (status = 201, description = "Created. The secret is not shown again.", body = inline(NewKey<'static>)),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn create(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let wanted: CreateKeyBody = read(call.body, call.site).await?;
    let accounts = &call.site.options.accounts;
    let (secret, key) = accounts.create_key(&wanted.name, &wanted.scopes).await?;
    let made = NewKey {
        key: &secret,
        id: &key.id,
        name: &key.name,
        scopes: &key.scopes,
    };
    let what = format!("made the API key {} ({}) with {:?}", key.id, key.name, key.scopes);
    call.audit.changed(&what);
    Ok(reply::json(StatusCode::CREATED, &made))
}

/// Revokes an API key, within seconds on all nodes.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    operation_id = "revokeKey",
    params(("id" = String, Path, description = "The key's id.", min_length = 1, example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    responses(
        (status = 204, description = "The key was revoked."),
        (status = 404, description = "There is no such key, or it is already revoked.", body = ApiError<'static>),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn revoke(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let id = call.segment;
    if id.is_empty() {
        return Err("the path names no key".into());
    }
    call.site.options.accounts.revoke_key(id).await?;
    call.audit.changed(&format!("revoked the API key {id}"));
    Ok(reply::no_content())
}

impl<'a> ShownKey<'a> {
    fn of(key: &'a StoredKey) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            scopes: &key.scopes,
            created_at: reply::time(key.created_at),
            revoked_at: key.revoked_at.map(reply::time),
            last_used_at: key.last_used_at.map(reply::time),
        }
    }
}
