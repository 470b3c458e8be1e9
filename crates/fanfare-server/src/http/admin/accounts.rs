//! `/api/v1/accounts`: lists, creates and changes accounts.

use fanfare_accounts::{AccountError, storage::User};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, ApiFailure, Reply, RouteCall,
    query::{Limit, Query},
    read, reply,
};

/// A page of accounts.
#[derive(Serialize, ToSchema)]
struct AccountPage<'a> {
    #[schema(inline)]
    accounts: Vec<ShownAccount<'a>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<&'a str>,
}

/// An account.
#[derive(Serialize, ToSchema)]
struct ShownAccount<'a> {
    /// The user's id in tokens.
    id: &'a str,
    email: &'a str,
    #[schema(required)]
    name: Option<&'a str>,
    roles: &'a [String],
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    last_login_at: Option<String>,
    /// The time at which it was disabled; null if it is enabled.
    #[schema(required, format = DateTime)]
    disabled_at: Option<String>,
}

/// The new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateAccountBody {
    #[schema(format = "email")]
    email: String,
    /// 8 to 1,024 bytes.
    password: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

/// The changes of an account. An absent field stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeAccountBody {
    /// All roles of the account. If a role is removed, the user's sessions end.
    #[serde(default)]
    roles: Option<Vec<String>>,
    /// `true` disables the account and ends its sessions; `false` enables it.
    #[serde(default)]
    disabled: Option<bool>,
}

/// The accounts of this server, the oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/accounts",
    operation_id = "listAccounts",
    params(
        ("email" = Option<String>, Query, description = "Only the account with this address."),
        Limit,
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of accounts, the oldest first.", body = inline(AccountPage<'static>)),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn list(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let query = Query::read(call.query(), &["email", "limit", "cursor"])?;
    let limit = query.limit()?;
    let accounts = &call.site.options.accounts;
    let found = if let Some(email) = query.get("email") {
        accounts.user_by_email(email).await.map(|user| vec![user])
    } else {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        accounts
            .users(query.get("cursor").unwrap_or_default(), limit)
            .await
    };
    let users = match found {
        Err(AccountError::NotFound(_) | AccountError::Bad { .. }) => Vec::new(),
        found => found?,
    };
    let next = users.last().filter(|_| users.len() == limit);
    Ok(reply::ok(&AccountPage {
        accounts: users.iter().map(ShownAccount::of).collect(),
        next_cursor: next.map(|user| &*user.id),
    }))
}

/// Creates an account, even if `auth.registration` is closed.
#[utoipa::path(
    post,
    path = "/api/v1/accounts",
    operation_id = "createAccount",
    request_body(
        content = inline(CreateAccountBody),
        example = json!({ "email": "operator@example.com", "password": "correct horse battery", "roles": ["user"] }),
    ),
    responses(
        (status = 201, description = "Created.", body = inline(ShownAccount<'static>)),
        (status = 409, description = "The address has an account already.", body = ApiError<'static>),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn create(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let CreateAccountBody {
        email,
        password,
        name,
        mut roles,
    } = read(call.body, call.site).await?;
    if roles.is_empty() {
        roles.push(fanfare_accounts::DEFAULT_ROLE.to_owned());
    }
    let accounts = &call.site.options.accounts;
    let user = accounts
        .create_user(&email, &password, name.as_deref(), &roles)
        .await?;
    let what = format!("made the account {} with the roles {:?}", user.id, user.roles);
    call.audit.changed(&what);
    Ok(reply::json(StatusCode::CREATED, &ShownAccount::of(&user)))
}

/// Changes an account's roles, or disables or enables it.
#[utoipa::path(
    patch,
    path = "/api/v1/accounts/{id}",
    operation_id = "changeAccount",
    params(("id" = String, Path, description = "The account's id.", min_length = 1, example = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")),
    request_body(content = inline(ChangeAccountBody), example = json!({ "disabled": true })),
    responses(
        (status = 200, description = "The changed account.", body = inline(ShownAccount<'static>)),
        (status = 404, description = "There is no such account.", body = ApiError<'static>),
        (status = 500, description = "A fault of the server's.", body = ApiError<'static>),
    ),
)]
pub(in crate::http) async fn change(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let (id, accounts) = (call.segment, &call.site.options.accounts);
    let change: ChangeAccountBody = read(call.body, call.site).await?;
    if let Some(roles) = change.roles {
        accounts.set_roles(id, &roles).await?;
    }
    if let Some(disabled) = change.disabled {
        accounts.set_disabled(id, disabled).await?;
    }
    let user = accounts.user(id).await?;
    let state = if user.disabled_at.is_some() { "off" } else { "on" };
    let what = format!(
        "changed the account {}: roles {:?}, switched {state}",
        user.id, user.roles
    );
    call.audit.changed(&what);
    Ok(reply::ok(&ShownAccount::of(&user)))
}

impl<'a> ShownAccount<'a> {
    fn of(user: &'a User) -> Self {
        Self {
            id: &user.id,
            email: &user.email,
            name: user.name.as_deref(),
            roles: &user.roles,
            created_at: reply::time(user.created_at),
            last_login_at: user.last_login_at.map(reply::time),
            disabled_at: user.disabled_at.map(reply::time),
        }
    }
}
