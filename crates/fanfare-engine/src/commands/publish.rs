//! Publishes a client's event.

use std::rc::Rc;

use fanfare_core::{
    Audience, Denial, Draft, Event, Outcome, PublishOptions, Receipt, Right, Sender, Subscription,
    policy::{AuthorizerAnswer, OpenQuestions, Permission},
};
use uuid::Uuid;

use super::{CommandState, after, denied};
use crate::{publisher::Publisher, turn::Turn};

pub(super) fn publish(turn: &Turn<'_>, draft: Draft) -> CommandState {
    let open = match may_publish(turn, &draft) {
        Ok(open) => open,
        Err(denial) => return denied(denial),
    };
    let (mut event, publisher) = (event(turn, draft), &turn.shard.publisher);
    let id = event.id;
    let connection = &turn.driver.connection;
    let who = connection.subscriber.valid_identity().map(|identity| &**identity);
    let dialect = connection.mounted().name;
    turn.shard.node.record_client_entry(dialect, who, &event);
    if open.is_none() && !awaits_receipt(&event) {
        event = match publisher.gather(event) {
            None => return CommandState::Answered(Ok(Outcome::Published { id })),
            Some(event) => event,
        };
    }
    let answer = turn.shard.node.access.ask(open.unwrap_or_default());
    let work = send(answer, publisher.clone(), event);
    after(work, |_, sent| {
        CommandState::Answered(sent.map(|id| Outcome::Published { id }))
    })
}

/// For an event to a user, only the receipt shows whether it arrived.
fn awaits_receipt(event: &Event) -> bool {
    matches!(event.audience, Audience::User(_))
}

/// Returns the questions for the authorizer, if it decides.
fn may_publish(turn: &Turn<'_>, draft: &Draft) -> Result<Option<OpenQuestions>, Denial> {
    let (node, subscriber) = (&turn.shard.node, &turn.driver.connection.subscriber);
    let kind = draft.kind.as_deref();
    if kind.is_some_and(|kind| node.reserved_types.contains(kind)) {
        return Err(Denial::ReservedType);
    }
    if let (Audience::Channel(channel), Right::Member) = (&draft.to, draft.right)
        && !subscriber.is_member(&Subscription::Channel(channel.clone()))
    {
        return Err(Denial::NotMember);
    }
    let who = subscriber.valid_identity().map(|identity| &**identity);
    match node.access.may_publish(who, &draft.to) {
        Permission::Allowed => Ok(None),
        Permission::Denied => Err(Denial::Forbidden),
        Permission::Pending(open) => Ok(Some(open)),
    }
}

/// Returns the event of a client's draft, with an id, the sender and the time.
fn event(turn: &Turn<'_>, draft: Draft) -> Event {
    let connection = &turn.driver.connection;
    let sender = connection.subscriber.identity.as_ref().map(|identity| {
        let (username, connection) = (identity.username.clone(), Some(connection.id));
        Box::new(Sender {
            username,
            connection,
            ..*Sender::new(&identity.user)
        })
    });
    Event {
        except: (!draft.echo).then_some(connection.id),
        metadata: draft.metadata,
        sender,
        ..Event::new(draft.to, draft.kind.as_deref(), draft.data, turn.moment.wall)
    }
}

/// Publishes, if the authorizer's `answer` allows it.
async fn send(
    answer: impl Future<Output = AuthorizerAnswer>,
    publisher: Rc<Publisher>,
    event: Event,
) -> Result<Uuid, Denial> {
    let (id, receipt) = (event.id, awaits_receipt(&event));
    if !answer.await.is_allowed() {
        return Err(Denial::Forbidden);
    }
    let receipts = publisher.publish(event, PublishOptions { receipt }).await;
    // Without a receipt the outcome is unknown.
    let is_missed =
        |receipts: Vec<Receipt>| receipts.first().is_none_or(|receipt| receipt.reach.matched == 0);
    if receipt && receipts.await.is_ok_and(is_missed) {
        return Err(Denial::NotConnected);
    }
    Ok(id)
}
