//! `/api/messages`: users' messages, stored before they are published, and read page by page.

use std::borrow::Cow;

use fanfare_accounts::{AccountError, NewMessage};
use fanfare_core::{Channel, RawObject, policy::Action, string};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{OpenApi, ToSchema};

use super::{
    accounts::{Failure, auth::succeeded, authenticate},
    api::query::Query,
    body,
    call::RouteCall,
    described::Refusals,
    forms::{FailedError, Success},
    message_reader::MessageReader,
    reply::Reply,
};
use crate::messages::{self, MessageView};

/// These routes' part of the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(tags((name = "Messages", description = "Stored messages; on every listener.")), paths(create, list))]
pub(super) struct MessagesApi;

/// The refusals of each of these routes.
pub(super) const REFUSALS: Refusals = &[
    (400, "The body, the limit or the cursor is invalid."),
    (401, "The token is missing or invalid."),
    (429, "Too many requests."),
    (500, "A fault of the server's."),
    (
        503,
        "The server is starting or stopping, or the database or the authorizer is unavailable.",
    ),
];

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 100;

fn unwritable() -> AccountError {
    AccountError::fault("a message that is no JSON")
}

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MessagePage {
    #[schema(value_type = Vec<MessageView<'static>>)]
    messages: Vec<Box<RawValue>>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The description of a page's parameters; [`list`] reads them.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is only described")]
struct MessagePageParams {
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
struct MessageBody {
    /// 1 byte to 64 KiB, without NUL.
    #[schema(min_length = 1)]
    content: String,
    /// The recipient; with one, the message is private.
    recipient_id: Option<String>,
    channel_id: Option<String>,
    #[schema(value_type = Option<Vec<Value>>)]
    attachments: Option<Box<RawValue>>,
}

impl MessageBody {
    /// Reads a body. Unknown fields are ignored; null counts as missing.
    fn read(body: &[u8]) -> Result<Self, AccountError> {
        let text = std::str::from_utf8(body).map_err(|_| AccountError::bad("body", "not UTF-8"))?;
        let fields = RawObject::parse(text);
        let fields = fields.map_err(|_| AccountError::bad("body", "expected a JSON object"))?;
        let words = |name| {
            let text = fields.given(name).map(|value| string(value).map(Cow::into_owned));
            text.map(|text| text.ok_or(AccountError::bad(name, "expected a string")))
                .transpose()
        };
        Ok(Self {
            content: words("content")?.ok_or(AccountError::bad("content", "required"))?,
            recipient_id: words("recipientId")?,
            channel_id: words("channelId")?,
            attachments: fields.given("attachments").map(ToOwned::to_owned),
        })
    }

    /// Returns the channel on which the author must have the right to publish. A private message without a channel
    /// needs none.
    fn guard(&self) -> Result<Option<Channel>, AccountError> {
        if self.channel_id.is_none() && self.recipient_id.is_some() {
            return Ok(None);
        }
        let guard = messages::guard(self.channel_id.as_deref());
        let guard = guard.ok_or(AccountError::bad("channelId", "not the name of a channel"))?;
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

/// Stores a message, and publishes it to the users that may read it.
//
// The response follows after both.
#[utoipa::path(
    post,
    path = "/api/messages",
    operation_id = "sendMessage",
    request_body(content = inline(MessageBody), example = json!({ "content": "Hello", "recipientId": "bob" })),
    responses(
        (status = 201, description = "Stored and published.", body = inline(Success<MessageView<'static>>)),
        (status = 403, description = "The caller may not publish on the channel.", body = FailedError<'static>),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn create(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let site = call.site;
    let identity = authenticate(call.headers(), site).await?;
    let body = body::read(call.body, site).await?;
    let draft = match body.parse(|bytes| MessageBody::read(bytes)).await {
        Ok(draft) => draft,
        Err(error) => {
            let bad = body.not_json().await;
            return Err(bad.map_or_else(|| error.into(), Failure::BadMessage));
        }
    };
    drop(body);
    if let Some(guard) = draft.guard()? {
        let access = &site.node.access;
        let decided = access.decide(Some(&identity), Action::Publish, &guard).await;
        if !decided.is_allowed() {
            return Err(Failure::ClosedChannel);
        }
    }
    let (accounts, node) = (site.options.accounts.clone(), site.node.clone());
    // In its own task: if the caller disconnects, a stored message must still be published.
    let storing = tokio::spawn(async move {
        let message = accounts.create_message(draft.by(&identity.user)).await?;
        messages::publish(&accounts, &node, &message).await;
        Ok::<_, AccountError>(message)
    });
    let fault = |_| AccountError::fault("a fault while a message was stored");
    let message = storing.await.map_err(fault)??;
    let shown = messages::to_json(&message).ok_or_else(unwritable)?;
    Ok(succeeded(StatusCode::CREATED, shown))
}

/// The messages that the caller may read, newest first.
#[utoipa::path(
    get,
    path = "/api/messages",
    operation_id = "listMessages",
    params(MessagePageParams),
    responses((status = 200, description = "A page, the newest first.", body = inline(Success<MessagePage>))),
    security(("bearer" = [])),
)]
pub(super) async fn list(call: RouteCall<'_>) -> Result<Reply, Failure> {
    let site = call.site;
    let identity = authenticate(call.headers(), site).await?;
    let query = Query::read(call.query(), &["limit", "cursor"])
        .map_err(|_| AccountError::bad("query", "expected limit and cursor, each at most once"))?;
    let limit = match query.get("limit") {
        None => Some(DEFAULT_LIMIT),
        Some(text) => text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)),
    };
    let limit = limit.ok_or(AccountError::bad("limit", "expected a number from 1 to 100"))?;
    let reader = MessageReader::new(&identity, &site.node);
    let accounts = &site.options.accounts;
    let page = accounts
        .messages(
            &identity.user,
            identity.is_admin(),
            reader,
            limit,
            query.get("cursor"),
        )
        .await?;
    let shown: Option<Vec<_>> = page.messages.iter().map(messages::to_json).collect();
    let data = MessagePage {
        messages: shown.ok_or_else(unwritable)?,
        next_cursor: page.next_cursor,
    };
    Ok(succeeded(StatusCode::OK, data))
}
