//! `/api/messages`: users' messages, stored before they are published, and read page by page.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use fanfare_accounts::{AccountError, NewMessage};
use fanfare_core::{Channel, Identity, RawObject, policy::Action, string};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{RefOr, Response},
};

use super::{
    Site,
    api::query::Query,
    body::{self, Unread},
    call::RouteCall,
    caller,
    forms::{Always, BadField, FailedError, Success, challenging, refusals},
    message_reader::MessageReader,
    reply::{self, Reply},
};
use crate::{
    auth::TokenError,
    messages::{self, Shown},
};

/// These routes' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(tags((name = "Messages", description = "Stored messages; on every listener.")), paths(create, list))]
pub(super) struct MessagesApi;

struct MessageRefusals;

impl IntoResponses for MessageRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        challenging(refusals::<FailedError<'_>>(&[
            (400, "The body, the limit or the cursor is invalid."),
            (401, "The token is missing or invalid."),
            (429, "Too many requests."),
            (500, "A fault of the server's."),
            (
                503,
                "The server is starting or stopping, or the database or the authorizer is unavailable.",
            ),
        ]))
    }
}

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

pub(super) async fn answer(handling: impl Future<Output = Result<Reply, Refusal>>) -> Reply {
    handling.await.unwrap_or_else(Refusal::into_reply)
}

/// Returns an error in the form of these routes.
pub(super) fn failed(status: StatusCode, message: &str) -> Reply {
    refused(status, message, None)
}

fn refused(status: StatusCode, error: &str, details: Option<BadField<'_>>) -> Reply {
    let success = Always;
    reply::json(
        status,
        &FailedError {
            success,
            error,
            details,
        },
    )
}

fn later(error: &str) -> Reply {
    reply::later(failed(StatusCode::SERVICE_UNAVAILABLE, error))
}

async fn identify(site: &Site, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
    let token = caller::bearer(headers).ok_or(Refusal::NoUser(TokenError::Malformed))?;
    let identified = site.gate.identify(token).await;
    identified
        .inspect_err(|error| caller::note(site, "bad_credential", error, None))
        .map_err(Refusal::NoUser)
}

pub(super) enum Refusal {
    NoUser(TokenError),
    Unread(Unread),
    Forbidden,
    Account(AccountError),
}

impl Refusal {
    fn bad(field: &'static str, issue: &'static str) -> Self {
        AccountError::bad(field, issue).into()
    }

    fn into_reply(self) -> Reply {
        match self {
            Self::NoUser(TokenError::KeysUnavailable) => later(caller::KEYS_UNAVAILABLE),
            Self::NoUser(_) => {
                reply::challenge(failed(StatusCode::UNAUTHORIZED, "a valid token is required"))
            }
            Self::Unread(unread) => failed(unread.status(), &unread.to_string()),
            Self::Forbidden => failed(StatusCode::FORBIDDEN, "the channel is not open to you"),
            Self::Account(AccountError::Bad { field, issue }) => refused(
                StatusCode::BAD_REQUEST,
                &format!("{field}: {issue}"),
                Some(BadField { field, issue }),
            ),
            Self::Account(AccountError::Storage(error)) if error.is_outage() => {
                later("messages cannot be used at the moment")
            }
            Self::Account(AccountError::Undecided) => later("it cannot be found out what may be read"),
            Self::Account(error) => {
                tracing::error!(%error, "messages");
                failed(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        Self::Account(error)
    }
}

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessagePage {
    #[schema(value_type = Vec<Shown<'static>>)]
    messages: Vec<Box<RawValue>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

fn succeeded<T: Serialize>(status: StatusCode, data: T) -> Result<Reply, Refusal> {
    let body = serde_json::to_vec(&Success::of(data)).map_err(|_| unwritable())?;
    Ok(reply::text(status, reply::JSON, body))
}

fn unwritable() -> Refusal {
    AccountError::fault("a message that is no JSON").into()
}

/// The description of a page's parameters; [`list`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is only described")]
struct Wanted {
    /// Results in one page.
    #[param(minimum = 1, maximum = 100, default = 50, nullable = false)]
    limit: Option<usize>,
    /// The nextCursor of the previous page.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// A message to store.
#[derive(ToSchema)]
#[schema(as = NewMessage, rename_all = "camelCase")]
struct Draft {
    /// 1 byte to 64 KiB, without NUL.
    #[schema(min_length = 1)]
    content: String,
    /// The recipient; with one, the message is private.
    recipient_id: Option<String>,
    channel_id: Option<String>,
    #[schema(value_type = Option<Vec<Value>>)]
    attachments: Option<Box<RawValue>>,
}

impl Draft {
    /// Reads a body. Unknown fields are ignored; null counts as missing.
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Refusal::bad("body", "not UTF-8"))?;
        let fields = RawObject::parse(text).map_err(|_| Refusal::bad("body", "expected a JSON object"))?;
        let words = |name| {
            let text = fields.given(name).map(|value| string(value).map(Cow::into_owned));
            text.map(|text| text.ok_or(Refusal::bad(name, "expected a string")))
                .transpose()
        };
        Ok(Self {
            content: words("content")?.ok_or(Refusal::bad("content", "required"))?,
            recipient_id: words("recipientId")?,
            channel_id: words("channelId")?,
            attachments: fields.given("attachments").map(ToOwned::to_owned),
        })
    }

    /// Returns the channel on which the author must have the right to publish. A private message without a channel
    /// needs none.
    fn guard(&self) -> Result<Option<Channel>, Refusal> {
        if self.channel_id.is_none() && self.recipient_id.is_some() {
            return Ok(None);
        }
        let guard = messages::guard(self.channel_id.as_deref());
        let guard = guard.ok_or(Refusal::bad("channelId", "not the name of a channel"))?;
        Ok(Some(guard))
    }

    fn by<'a>(&'a self, author: &'a str) -> NewMessage<'a> {
        NewMessage {
            author,
            recipient: self.recipient_id.as_deref(),
            channel: self.channel_id.as_deref(),
            content: &self.content,
            attachments: self.attachments.as_deref(),
        }
    }
}

/// Stores a message, and publishes it to those who may read it.
//
// The response follows after both.
#[utoipa::path(
    post,
    path = "/api/messages",
    operation_id = "sendMessage",
    tag = "Messages",
    request_body(content = inline(Draft), example = json!({ "content": "Hello", "recipientId": "bob" })),
    responses(
        MessageRefusals,
        (status = 201, description = "Stored and published.", body = inline(Success<Shown<'static>>)),
        (status = 403, description = "The caller may not publish on the channel.", body = FailedError<'static>),
        (status = 408, description = "The body did not arrive in time.", body = FailedError<'static>),
        (status = 413, description = "The body is too large.", body = FailedError<'static>),
        (status = 415, description = "The body is not JSON in UTF-8.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn create(call: RouteCall<'_>) -> Result<Reply, Refusal> {
    let site = call.site;
    let who = identify(site, call.headers()).await?;
    let body = body::read(call.body, site).await.map_err(Refusal::Unread)?;
    let draft = match body.parse(|bytes| Draft::read(bytes)).await {
        Ok(draft) => draft,
        Err(refusal) => {
            return match body.not_json().await {
                Some(unread) => {
                    let issue = &*unread.to_string();
                    let details = BadField { field: "body", issue };
                    Ok(refused(unread.status(), issue, Some(details)))
                }
                None => Err(refusal),
            };
        }
    };
    drop(body);
    if let Some(guard) = draft.guard()? {
        let access = &site.node.access;
        let decided = access.decide(Some(&who), Action::Publish, &guard).await;
        if !decided.is_allowed() {
            return Err(Refusal::Forbidden);
        }
    }
    let (accounts, node) = (site.options.accounts.clone(), site.node.clone());
    // A task of its own: if the caller hangs up, the message must not stay stored and unpublished.
    let storing = tokio::spawn(async move {
        let message = accounts.create_message(draft.by(&who.user)).await?;
        messages::publish(&accounts, &node, &message).await;
        Ok::<_, AccountError>(message)
    });
    let fault = |_| AccountError::fault("a fault while a message was stored");
    let message = storing.await.map_err(fault)??;
    let shown = messages::show(&message).ok_or_else(unwritable)?;
    succeeded(StatusCode::CREATED, shown)
}

/// The messages that the caller may read, newest first.
#[utoipa::path(
    get,
    path = "/api/messages",
    operation_id = "listMessages",
    tag = "Messages",
    params(Wanted),
    responses(MessageRefusals, (status = 200, description = "A page, the newest first.", body = inline(Success<MessagePage>))),
    security(("bearer" = [])),
)]
pub(super) async fn list(call: RouteCall<'_>) -> Result<Reply, Refusal> {
    let site = call.site;
    let who = identify(site, call.headers()).await?;
    let query = Query::read(call.query(), &["limit", "cursor"])
        .map_err(|_| Refusal::bad("query", "expected limit and cursor, each at most once"))?;
    let limit = match query.get("limit") {
        None => Some(DEFAULT_LIMIT),
        Some(text) => text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)),
    };
    let limit = limit.ok_or(Refusal::bad("limit", "expected a number from 1 to 100"))?;
    let reader = MessageReader::new(&who, &site.node);
    let accounts = &site.options.accounts;
    let page = accounts
        .messages(&who.user, who.is_admin(), reader, limit, query.get("cursor"))
        .await?;
    let shown: Option<Vec<_>> = page.messages.iter().map(messages::show).collect();
    let data = MessagePage {
        messages: shown.ok_or_else(unwritable)?,
        next_cursor: page.next_cursor,
    };
    succeeded(StatusCode::OK, data)
}
