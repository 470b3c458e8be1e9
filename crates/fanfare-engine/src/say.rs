//! A client's event on its way out: who may say what where.

use std::{rc::Rc, time::SystemTime};

use fanfare_core::{
    Audience, Denial, Draft, Event, Outcome, PublishOptions, Right, Sender, Subscription,
    policy::{AuthorizerAnswer, OpenQuestions, Permission},
};
use uuid::Uuid;

use super::{connection::Connection, publisher::Publisher, talk::Turn};

impl Connection {
    pub(super) fn publish(&mut self, draft: Draft, turn: &mut Turn<'_>) {
        let open = match self.may_say(&draft, turn) {
            Ok(open) => open,
            Err(denial) => return self.answer(Err(denial), turn),
        };
        let event = self.event(draft);
        let answer = turn.shard.node.access.ask(open);
        let work = send(answer, turn.shard.publisher.clone(), event);
        self.settle(turn, work, |connection, sent, turn| {
            connection.answer(sent.map(|id| Outcome::Published { id }), turn);
        });
    }

    fn may_say(&self, draft: &Draft, turn: &Turn<'_>) -> Result<OpenQuestions, Denial> {
        let node = &turn.shard.node;
        if draft
            .kind
            .as_deref()
            .is_some_and(|kind| node.reserved_types.contains(kind))
        {
            return Err(Denial::ReservedType);
        }
        if let (Audience::Channel(channel), Right::Member) = (&draft.to, draft.right)
            && !self.is_member(&Subscription::Channel(channel.clone()))
        {
            return Err(Denial::NotMember);
        }
        let who = self.proven().map(|identity| &**identity);
        match node.access.may_publish(who, &draft.to) {
            Permission::Allowed => Ok(OpenQuestions::default()),
            Permission::Denied => Err(Denial::Forbidden),
            Permission::Pending(open) => Ok(open),
        }
    }

    /// The event that the server makes of a client's draft: id, sender and time are not the client's to say.
    pub(super) fn event(&self, draft: Draft) -> Event {
        let sender = self.identity.as_ref().map(|identity| {
            let (username, connection) = (identity.username.clone(), Some(self.id));
            Box::new(Sender {
                username,
                connection,
                ..*Sender::new(&identity.user)
            })
        });
        Event {
            except: (!draft.echo).then_some(self.id),
            metadata: draft.metadata,
            sender,
            ..Event::new(draft.to, draft.kind.as_deref(), draft.data, SystemTime::now())
        }
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
