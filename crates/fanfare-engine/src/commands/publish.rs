//! A client publishes.

use std::rc::Rc;

use fanfare_core::{
    Audience, Denial, Draft, Event, Outcome, PublishOptions, Right, Sender, Subscription,
    policy::{AuthorizerAnswer, OpenQuestions, Permission},
};
use uuid::Uuid;

use super::{Doing, after, denied};
use crate::{publisher::Publisher, turn::Turn};

pub(super) fn publish(turn: &Turn<'_>, draft: Draft) -> Doing {
    let open = match may_publish(turn, &draft) {
        Ok(open) => open,
        Err(denial) => return denied(denial),
    };
    let event = event(turn, draft);
    let answer = turn.shard.node.access.ask(open);
    let work = send(answer, turn.shard.publisher.clone(), event);
    after(work, |_, sent| {
        Doing::Answered(sent.map(|id| Outcome::Published { id }))
    })
}

fn may_publish(turn: &Turn<'_>, draft: &Draft) -> Result<OpenQuestions, Denial> {
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
    let who = subscriber.proven().map(|identity| &**identity);
    match node.access.may_publish(who, &draft.to) {
        Permission::Allowed => Ok(OpenQuestions::default()),
        Permission::Denied => Err(Denial::Forbidden),
        Permission::Pending(open) => Ok(open),
    }
}

/// The event of a client's draft: id, sender and time are the server's.
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

/// Publishes, if the authorizer's `answer` allows it. To a user it is known only afterwards whether it arrived.
async fn send(
    answer: impl Future<Output = AuthorizerAnswer>,
    publisher: Rc<Publisher>,
    event: Event,
) -> Result<Uuid, Denial> {
    let (id, to_user) = (event.id, matches!(event.audience, Audience::User(_)));
    if !answer.await.is_allowed() {
        return Err(Denial::Forbidden);
    }
    let receipt = publisher
        .publish(event, PublishOptions { receipt: to_user })
        .await;
    if to_user && receipt.await.is_ok_and(|receipt| receipt.reach.matched == 0) {
        return Err(Denial::NotConnected);
    }
    Ok(id)
}
