//! The part of what conversations ask for that may have to wait: for the authorizer, and for the broker.

use std::{future::Future, sync::Arc};

use fanfare_core::{
    Channel, Denial, Subscription, UserId,
    policy::{Action, Question},
};
use futures_util::future::join_all;

use super::{
    Node,
    hold::{Hold, InForce},
};

/// Who asks.
pub(super) struct Asking {
    pub(super) node: Arc<Node>,
    pub(super) shard: usize,
    pub(super) user: Option<UserId>,
}

/// Something that a connection wants to listen to, as far as the policy alone decides.
pub(super) enum Request {
    /// It listens to it already.
    Held,
    /// It may.
    Take(Subscription),
    /// The authorizer decides.
    Ask(Subscription),
    /// It may not.
    Denied(Denial),
}

/// Something that a connection may listen to.
pub(super) enum Granted {
    /// It does so already.
    Held,
    /// From now on.
    New(Subscription, Option<Hold>),
}

impl Asking {
    /// What the authorizer says; without one, no.
    pub(super) fn authorizer(&self, action: Action, channel: Channel) -> impl Future<Output = bool> + use<> {
        let question = Question {
            user: self.user.clone(),
            action,
            channel,
        };
        let answer = self
            .node
            .authorizer
            .as_ref()
            .map(|authorizer| match authorizer.remembered(&question) {
                Some(known) => Box::pin(std::future::ready(known)),
                None => authorizer.ask(question),
            });
        async move {
            match answer {
                Some(answer) => answer.await,
                None => false,
            }
        }
    }

    async fn allowed(&self, wanted: Subscription) -> Result<Subscription, Denial> {
        match &wanted {
            Subscription::Channel(channel) if !self.authorizer(Action::Subscribe, channel.clone()).await => {
                Err(Denial::Forbidden)
            }
            _ => Ok(wanted),
        }
    }

    fn hold(&self, wanted: &Subscription) -> (Option<Hold>, InForce) {
        let (hold, in_force) = match wanted {
            Subscription::Channel(channel) => Hold::channel(&self.node, self.shard, channel),
            Subscription::Pattern(_) => Hold::pattern(&self.node, self.shard),
            Subscription::Personal(_) => return (None, None), // the node hears of its own users anyway
        };
        (Some(hold), in_force)
    }
}

/// Has the node listen to what is requested, at most `room` things; resolves when it does. If `whole`, one denial is
/// the answer to all.
pub(super) async fn grant(
    asking: Asking,
    requests: Vec<Request>,
    mut room: usize,
    whole: bool,
) -> Result<Vec<Result<Granted, Denial>>, Denial> {
    let judged = join_all(requests.into_iter().map(async |request| match request {
        Request::Held => Ok(None),
        Request::Denied(denial) => Err(denial),
        Request::Take(wanted) => Ok(Some(wanted)),
        Request::Ask(wanted) => asking.allowed(wanted).await.map(Some),
    }));
    let mut judged = judged.await;
    for each in &mut judged {
        if let Ok(Some(_)) = each {
            match room.checked_sub(1) {
                Some(left) => room = left,
                None => *each = Err(Denial::TooManySubscriptions),
            }
        }
        if let (true, Err(denial)) = (whole, &*each) {
            return Err(*denial);
        }
    }
    let (mut granted, mut waits) = (Vec::with_capacity(judged.len()), Vec::new());
    for each in judged {
        granted.push(each.map(|wanted| match wanted {
            None => Granted::Held,
            Some(wanted) => {
                let (hold, placed) = asking.hold(&wanted);
                waits.extend(placed);
                Granted::New(wanted, hold)
            }
        }));
    }
    join_all(waits).await;
    Ok(granted)
}

/// Resolves when what was asked of the broker holds.
pub(super) async fn in_force(placed: InForce) {
    if let Some(placed) = placed {
        placed.await;
    }
}
